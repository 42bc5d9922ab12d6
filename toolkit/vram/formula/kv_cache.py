"""What vLLM's KV cache takes: bytes a token, and a sequence in whole blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from toolkit.vram.shapes import Shape

KvDtype = Literal["auto", "fp8"]

BLOCK_TOKENS = 16  # vLLM hands out the KV cache in blocks of so many tokens


@dataclass(frozen=True)
class KvLayout:
    """Bytes of keys and values in the cache."""

    full: float
    """For each token in all layers that look at everything."""
    sliding: float
    """The same in layers with a window, which keep only its tokens."""
    window: int
    """Tokens of the window; 0 without one."""

    def sequence_bytes(self, tokens: int, in_flight: int = 0) -> float:
        """What one sequence of `tokens` takes, in whole blocks; `in_flight` tokens are kept beyond a window."""
        kept = _blocks(tokens)
        held = min(kept, _blocks(self.window - 1 + in_flight) + 1)
        return BLOCK_TOKENS * (self.full * kept + self.sliding * held)


def kv_layout(shape: Shape, kv_cache_dtype: KvDtype = "auto") -> KvLayout:
    """Two elements of kv_dim a token and layer: 2 bytes each, or 1 in fp8, whose scales are one number a tensor."""
    a_layer = 2 * shape.kv_dim * (1 if kv_cache_dtype == "fp8" else 2)
    n_sliding = shape.n_sliding_layers if shape.sliding_window else 0
    return KvLayout(a_layer * (shape.n_layers - n_sliding), a_layer * n_sliding, shape.sliding_window or 0)


def kv_bytes_per_token(shape: Shape, kv_cache_dtype: KvDtype = "auto") -> float:
    """Keys and values of one token in all layers, inside any window."""
    layout = kv_layout(shape, kv_cache_dtype)
    return layout.full + layout.sliding


def _blocks(tokens: int) -> int:
    return -(-max(0, tokens) // BLOCK_TOKENS)
