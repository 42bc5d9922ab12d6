"""What one decoder layer keeps for its backward pass, and what it holds at the height of that pass. Bytes.

T = B S tokens; H hidden size, I intermediate, Q = heads x head_dim, K = kv_heads x head_dim, h heads, r LoRA rank, n
adapted modules. The factors were read off the tensors alive at the peaks of simulated steps (`toolkit.vram.simulation`,
transformers 5.17, PEFT 0.21): how many of what width, in which type. The type depends on the regime, since autocast,
float32 adapters and `prepare_model_for_kbit_training` each add copies of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from toolkit.vram.formula.update import Update
    from toolkit.vram.shapes import Shape

Regime = Literal["adapters16", "adapters32", "upcast", "float32", "loop16", "full"]
"""
- adapters16: autocast, adapters in 16 bit: TRL over a 4-bit base.
- adapters32: autocast, adapters in float32: PEFT over 16-bit weights, Unsloth over any. A 16-bit copy of x an adapter.
- upcast: autocast over float32 embeddings and norms.
- float32: everything in float32, or no autocast over float32 embeddings and norms.
- loop16: no autocast, 16-bit weights, float32 adapters. A float32 copy of x an adapter.
- full: autocast, all weights trained.
"""


@dataclass(frozen=True)
class Tokens:
    """One pass through the layers."""

    batch: int
    length: int
    """Prompt and completion."""
    masked: bool
    """There is an attention mask: sequences of different length, or eager attention."""

    @property
    def total(self) -> int:
        return self.batch * self.length

    @property
    def scores(self) -> int:
        """Entries of an attention matrix of one head, for all sequences."""
        return self.batch * self.length**2


@dataclass(frozen=True)
class Adapters:
    """Which of a layer's projections carry LoRA."""

    n: int
    n_qkv: int
    o: int
    n_up: int
    """gate and up."""
    down: int

    @classmethod
    def of(cls, targets: Sequence[str]) -> Adapters:
        n_qkv = sum(name in ("q_proj", "k_proj", "v_proj", "qkv_proj") for name in targets)
        n_up = sum(name in ("gate_proj", "up_proj", "gate_up_proj") for name in targets)
        return cls(len(targets), n_qkv, int("o_proj" in targets), n_up, int("down_proj" in targets))


@dataclass(frozen=True)
class Widths:
    """Bytes a token, for each unit of H, I, Q and r."""

    h: int
    i: int
    q: int
    r: int


def saved_widths(regime: Regime, a: Adapters) -> Widths:
    """What a layer keeps without checkpointing, but for attention's own tensors.

    Two norms keep their input in float32, 8 H. The MLP keeps gate, up and silu(gate), and the product of the two where
    `down` is adapted. Each adapter keeps its inner product and, by regime, an x shared with its neighbours or a copy of
    its own.
    """
    copies = a.n_qkv + a.n_up
    shared = bool(a.n_qkv) + bool(a.n_up)
    match regime:
        case "adapters16":
            return Widths(8 + 2 * shared, 2 * (3 + a.down), 0, 2 * a.n)
        case "adapters32":
            return Widths(8 + 2 * copies, 2 * (3 + a.down), 2 * a.o, 2 * a.n)
        case "upcast":
            return Widths(8 + 2 * copies, 12 + 2 * a.down, 2 * a.o, 2 * a.n)
        case "float32":
            return Widths(8 + 4 * shared, 4 * (3 + a.down), 0, 4 * a.n)
        case "loop16":
            return Widths(8 + 4 * copies, 6 + 4 * a.down, 4 * a.o, 4 * a.n)
        case "full":
            return Widths(16, 8, 0, 0)


def work_widths(regime: Regime, a: Adapters) -> Widths:
    """What a layer holds in its backward pass at the MLP, where it is largest, but for attention's own tensors."""
    copies, mlp = a.n_qkv + a.n_up, bool(a.n_up or a.down)
    shared = bool(a.n_qkv) + mlp
    match regime:
        case "adapters16":
            return Widths(8 + 2 * (1 + shared), 12, 0, 2 * (a.n - a.down))
        case "adapters32":
            return Widths(8 + 2 * (1 + copies + 4 * a.down), 14 if a.down else 12, 2 * a.o, 2 * a.n)
        case "upcast":
            return Widths(8 + 2 * copies, 24, 2 * a.o, 2 * (a.n - a.down))
        case "float32":
            return Widths(8 + 4 * shared, 24, 0, 4 * (a.n - a.down))
        case "loop16":
            both = 4 * bool(a.n_up and a.down)
            hidden = 8 + 4 * copies + both + 2 * (1 + 2 * bool(a.n_up) + a.down)
            return Widths(hidden, 14 if mlp else 12, 4 * a.o, 4 * (a.n - a.down))
        case "full":
            return Widths(18, 12, 0, 0)


def attention_bytes(shape: Shape, update: Update, tokens: Tokens) -> float:
    """What one layer's attention keeps.

    - flash: q, out, k, v and the log-sum-exp. With a mask SDPA takes the memory-efficient kernel, which repeats keys
      and values to all heads and adds a bias, B S^2.
    - eager: the probabilities of all heads in float32 and again in 16 bit, the scores before a softcap (Gemma 2), and
      its output where an adapter of `o` has no copy of its own.
    - A fused projection (Phi): v is a view of it, for which flash keeps all of it. The layout of its queries costs the
      output a copy, unless an adapter makes one anyway.
    - Norms of q and k (Qwen3, Gemma 3): float32 inputs, 4 T (Q + K), and 16-bit outputs where they are trained.
    """
    regime, adapters = update.regime, update.adapters
    c, t, q, k = update.compute_bytes, tokens.total, shape.q_dim, shape.kv_dim
    norms = _qk_norm_bytes(shape, tokens, regime)
    if update.attention == "eager":
        out = c * t * q if adapters.o and regime in ("adapters16", "float32", "full") else 0
        each = (4 if c == 4 else 6) + (c if shape.attention_softcap else 0)
        return norms + 3 * c * t * q + out + tokens.scores * shape.n_heads * each
    if update.attention == "flash" and not tokens.masked:
        copy = q if adapters.o and regime == "adapters16" else 0
        fused = c * t * (q + k + copy) if shape.fused else 0
        return norms + 2 * c * t * (q + k) + 4 * t * shape.n_heads + fused
    bias = c * tokens.scores if tokens.masked else 0
    return norms + 4 * c * t * q + 4 * t * shape.n_heads + bias


def _norm_bytes(regime: Regime) -> int:
    """What a norm keeps for each element: its input in float32, and its output when its weight is trained."""
    return 6 if regime == "full" else 4


def _qk_norm_bytes(shape: Shape, tokens: Tokens, regime: Regime) -> int:
    return _norm_bytes(regime) * tokens.total * (shape.q_dim + shape.kv_dim) if shape.qk_norm else 0


def kinds_of(shape: Shape, tokens: Tokens) -> list[tuple[int, Tokens]]:
    """(number of layers, their tokens) by kind: layers whose window ends within the sequence need a mask."""
    beyond = shape.sliding_window is not None and tokens.length >= shape.sliding_window
    sliding = replace(tokens, masked=tokens.masked or beyond)
    kinds = [(shape.n_layers - shape.n_sliding_layers, tokens), (shape.n_sliding_layers, sliding)]
    return [(count, own) for count, own in kinds if count]


def mask_bytes(shape: Shape, update: Update) -> float:
    """The masks, one for all layers of a kind: boolean for SDPA, in the type of the stream for eager attention."""
    each = update.stream_bytes if update.attention == "eager" else 1
    return each * update.tokens.scores * sum(own.masked for _, own in kinds_of(shape, update.tokens))


def _around(shape: Shape, update: Update, tokens: Tokens, widths: Widths) -> float:
    """A layer's tensors but for attention's and the MLP's, with the two more norms that Gemma has."""
    h = widths.h + _norm_bytes(update.regime) * (shape.n_norms_per_layer - 2)
    return tokens.total * (h * shape.hidden + widths.q * shape.q_dim + widths.r * update.rank + 8)


def saved_layer(shape: Shape, update: Update, tokens: Tokens) -> float:
    """What a layer keeps for its backward pass when nothing is recomputed."""
    widths = saved_widths(update.regime, update.adapters)
    mlp = widths.i * tokens.total * shape.intermediate
    return mlp + _around(shape, update, tokens, widths) + attention_bytes(shape, update, tokens)


def working_layer(shape: Shape, update: Update, tokens: Tokens) -> float:
    """A layer recomputed and in its backward pass, at its largest: in the MLP, or in eager attention.

    - The MLP over NF4 is largest with all its tensors, or with one pair of T I fewer beside a dequantised matrix.
    - Eager attention holds four score matrices of all heads after the MLP's tensors are gone: probabilities, their
      gradient, the product that softmax's backward kernel makes, and its result.
    - A norm after the MLP (Gemma) has its backward pass before anything is freed: 5 T H in float32, and the gradient.
    - Fused gate and up (Phi) hold 4 T H more over 16-bit adapters. In a 16-bit training loop an adapter's output is as
      wide as both, 6 T I.
    """
    regime, t, h, i = update.regime, tokens.total, shape.hidden, shape.intermediate
    widths = work_widths(regime, update.adapters)
    mlp, pair = widths.i * t * i, 2 * update.stream_bytes * t * i
    mlp = max(mlp, mlp - pair + update.dequantised_bytes * h * i)
    at_mlp = mlp + _around(shape, update, tokens, widths) + attention_bytes(shape, update, tokens)
    if shape.n_norms_per_layer == 4:
        at_mlp = max(at_mlp, saved_layer(shape, update, tokens) + (20 + update.stream_bytes) * t * h)
    if shape.fused:
        at_mlp += {"adapters16": 4 * t * h, "loop16": 6 * t * i}.get(regime, 0)
    if update.attention != "eager":
        return at_mlp
    each = update.eager_score_bytes + (update.compute_bytes if shape.attention_softcap else 0)
    return max(at_mlp, each * tokens.scores * shape.n_heads + _beside_scores(shape, update, tokens))


def passing_layer(shape: Shape, update: Update, tokens: Tokens) -> float:
    """Blocks that a layer's forward pass takes and frees: the MLP's tensors, some of the stream, copies of the scores.

    Five T I and six T H cover what a replay of the allocator holds after the first layer; eager scores come to 1.7
    times their float32 size.
    """
    mlp_and_stream = update.stream_bytes * tokens.total * (5 * shape.intermediate + 6 * shape.hidden)
    scores = 6.8 * tokens.scores * shape.n_heads if update.attention == "eager" else 2 * tokens.scores * tokens.masked
    return mlp_and_stream + update.dequantised_bytes * shape.hidden * shape.intermediate + scores


def _beside_scores(shape: Shape, update: Update, tokens: Tokens) -> float:
    """What an eager layer holds beside its score matrices when those are at their largest."""
    c, n_qkv = update.compute_bytes, update.adapters.n_qkv
    copies = {"adapters32": 2, "upcast": 2, "loop16": 4}.get(update.regime, 0) * n_qkv
    per_token = (8 + copies) * shape.hidden + 3 * c * shape.q_dim + c * update.rank * n_qkv
    return tokens.total * per_token + _qk_norm_bytes(shape, tokens, update.regime)
