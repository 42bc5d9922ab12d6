"""From hidden states to a loss: what each way of computing it holds at once. Bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from toolkit.vram.formula.layers import Regime, Tokens, compute_bytes, stream_bytes

if TYPE_CHECKING:
    from toolkit.vram.shapes import Shape

Head = Literal["chunked", "logits", "unsloth", "cross_entropy"]

TILE_TOKENS, TILE_VOCAB = 4096, 32768  # TRL 1.15's fused head works in tiles of so many logits


def head_bytes(shape: Shape, head: Head, regime: Regime, tokens: Tokens, n_scored: int, chunks: int) -> float:
    """Memory of the head at its largest, beside the layers' checkpoints. T tokens, N of them scored.

    - chunked (TRL 1.15, for GRPO and supervised training): one tile of 4096 tokens x 32768 logits, the tile of a
      float32 head cast to 16 bit, and N H in several types for the gradient. The gradient of a trained head is summed
      in float32, 4 V H.
    - logits: all N positions at once, 4 N V in 16 bit (the logits and their log-softmax), 12 N V in float32. Sequences
      are taken one by one, so the gradient of a batch of one is as large as its logits: 2 N V more.
    - unsloth: float32 logits of one chunk with their gradient and copies, 16 ceil(N / chunks) V. An upper bound: the
      compiled kernels hold fewer copies, and where Triton runs unsloth_zoo 2026.10.9 takes tiles of 256 MiB at most
      (fused_losses/fused_linear.py), which nobody has measured yet.
    - cross_entropy: transformers' own loss over T positions, 12 T V: float32 log-probabilities, their gradient, and the
      gradient before it. The logits come on top (`held_bytes`).
    """
    c, h, v, t = compute_bytes(regime), shape.hidden, shape.vocab, tokens.total
    capped = stream_bytes(regime) * v if shape.logit_softcap else 0  # tanh keeps its result
    around = (4 + stream_bytes(regime)) * t * h  # the final norm's float32 input, and its output
    if head == "chunked":
        cast = c * min(v, TILE_VOCAB) * h if regime == "upcast" else 0
        gathered = 4 * v * h if regime == "full" else 0
        return c * min(n_scored, TILE_TOKENS) * TILE_VOCAB + cast + gathered + 4 * c * n_scored * h + around
    if head == "logits":
        single = c if tokens.batch == 1 else 0
        return ((4 if c == 2 else 12) + single + capped / v) * n_scored * v + around
    if head == "unsloth":
        return 16 * -(-n_scored // chunks) * v + 2 * c * n_scored * h + around + c * t * h
    return (12 * v + capped) * t + 4 * t * h


def held_bytes(shape: Shape, head: Head, regime: Regime, tokens: Tokens) -> float:
    """Logits that outlive the head: a hand-written training loop holds the model's output through the backward pass."""
    return stream_bytes(regime) * tokens.total * shape.vocab if head == "cross_entropy" else 0.0
