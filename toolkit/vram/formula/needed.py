"""The least that a step needs of a card: what its share of the published rates is measured by (MFU and MBU).

Model FLOPs utilisation counts what the mathematics asks for and not what checkpointing computes again (PaLM,
arXiv:2204.02311, appendix B). Model bandwidth utilisation is the same for decoding, which reads all weights and the
keys and values of every sequence once a token (Databricks, "LLM Inference Performance Engineering: Best Practices").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.vram.formula.costs import nf4_bytes
from toolkit.vram.formula.rollout import kv_layout

if TYPE_CHECKING:
    from toolkit.vram.shapes import Shape

BYTES_16_BIT = 2


def update_flops(shape: Shape, n_tokens: float, n_scored: float, mean_length: float) -> float:
    """Operations of one forward and one backward pass of LoRA over `n_tokens`, of which `n_scored` go through the head.

    2 a weight and token forward, as many backward for activations alone; attention 2 S Q a token and layer, causal,
    forward and twice that backward. `mean_length` is that of prompt and completion together. The adapters' own few
    tenths of a percent are left out.
    """
    linear = 2 * shape.linear_parameters() * n_tokens
    attention = 2 * shape.n_layers * shape.q_dim * mean_length * n_tokens
    head = 2 * shape.vocab * shape.hidden * n_scored
    return 2 * linear + 3 * attention + 2 * head


def decoding_bytes(shape: Shape, n_steps: float, n_sequences: float, mean_context: float, *, in_4bit: bool) -> float:
    """Bytes read in `n_steps` of decoding one token of each of `n_sequences` at once, after `mean_context` tokens."""
    linear = shape.linear_parameters()
    weights = nf4_bytes(linear) if in_4bit else BYTES_16_BIT * linear
    weights += BYTES_16_BIT * shape.vocab * shape.hidden
    return n_steps * (weights + n_sequences * kv_layout(shape).sequence_bytes(round(mean_context)))
