"""Workspaces that CUDA kernels take within one operation, where no dispatcher sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit.vram.formula.costs import NF4_BLOCK
from toolkit.vram.simulation.allocator import rounded

if TYPE_CHECKING:
    import torch

FLASH, EFFICIENT = "aten._scaled_dot_product_flash_attention", "aten._scaled_dot_product_efficient_attention"
GEMM_4BIT = "bitsandbytes.gemm_4bit"
SOFTMAX_BACKWARD = "aten._softmax_backward_data"
FUSED_GEMM_ROWS = 256  # up to here every card since Turing may multiply 4-bit weights without unpacking them
FLOAT32_BYTES = 4


def workspace_bytes(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Bytes that the CUDA kernel behind the operation `name` holds beyond its results; 0 for most."""
    if name.startswith(FLASH + "_backward"):
        return flash_backward_bytes(args[1], args[2])
    if name.startswith(EFFICIENT + "_backward"):
        return efficient_backward_bytes(args[1])
    if name.startswith(GEMM_4BIT):
        return dequantised_bytes(args[0], args[2], nested="absmax_8bit" in kwargs or len(args) > 7)
    if name.startswith(SOFTMAX_BACKWARD):
        return args[0].nbytes  # `tmp = grad * output` in aten's cuda/SoftMax.cu
    return 0


def flash_backward_bytes(query: torch.Tensor, key: torch.Tensor) -> int:
    """`softmax_d` and the float32 accumulator of dq; with grouped queries dk and dv for every query head as well.

    Shapes: query (B, heads, S, D), key (B, kv heads, S, D). Source: `mha_bwd` in aten's flash_attn/flash_api.cpp, which
    rounds S up to 128 and D up to 32.
    """
    batch, heads, length, width = query.shape
    tokens = batch * heads * _up(length, 128)
    expanded = 2 * batch * heads * key.shape[2] * width * query.element_size() if heads != key.shape[1] else 0
    return FLOAT32_BYTES * tokens * (1 + _up(width, 32)) + expanded


def efficient_backward_bytes(query: torch.Tensor) -> int:
    """`delta` and the float32 accumulator of dq. Shape: query (B, heads, S, D).

    Source: `_efficient_attention_backward` in aten's transformers/cuda/attention_backward.cu.
    """
    batch, heads, length, width = query.shape
    return FLOAT32_BYTES * batch * heads * (length + _up(length, 128) * width)


def dequantised_bytes(x: torch.Tensor, weight_shape: torch.Size, *, nested: bool) -> int:
    """The unpacked weight that a 4-bit product makes for more rows than its fused kernel takes, with its scales.

    Shapes: x (..., in), weight_shape (out, in). Source: `_dequant_linear_fallback` in bitsandbytes 0.50's
    backends/cuda/ops.py; between 5 and 1536 rows the choice depends on the card, so this is the upper of two answers.
    """
    if x.numel() // x.shape[-1] <= FUSED_GEMM_ROWS:
        return 0
    n_weights = weight_shape[0] * weight_shape[1]
    scales = 2 * rounded(n_weights // NF4_BLOCK * FLOAT32_BYTES) if nested else 0
    return n_weights * x.element_size() + scales


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
