"""Attention as CUDA computes it, on tensors that are on no card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from toolkit.vram.simulation.contracts import require
from toolkit.vram.simulation.kernels import EFFICIENT, FLASH
from toolkit.vram.simulation.spec import StepSpec

CUDA_ATTENTION = "simulated_cuda"  # the `attn_implementation` of simulated models


def register_cuda_attention() -> None:
    """Make `attn_implementation="simulated_cuda"` known to transformers. Idempotent.

    - Symptom: on fake or meta tensors `scaled_dot_product_attention` takes the math path and allocates S x S scores.
    - Cause: it chooses a kernel by device, and no fake device is CUDA: fake CUDA tensors abort a CPU build of PyTorch
      at the first node of a backward pass.
    - Remove when fake CUDA tensors work on a CPU build.

    Raises:
        ContractError: transformers' registries of attention functions, or the aten kernels, have changed.
    """
    import torch
    import transformers
    from transformers import masking_utils

    require(torch.ops.aten, "_scaled_dot_product_flash_attention", "torch 2.13")
    require(torch.ops.aten, "_scaled_dot_product_efficient_attention", "torch 2.13")
    attention = require(transformers, "AttentionInterface", "transformers 5.17")
    masks = require(masking_utils, "AttentionMaskInterface", "transformers 5.17")
    known_masks = require(masking_utils, "ALL_MASK_ATTENTION_FUNCTIONS", "transformers 5.17")
    attention.register(CUDA_ATTENTION, _cuda_attention)
    masks.register(CUDA_ATTENTION, known_masks["sdpa"])


@contextmanager
def fake_tensors_are_not_tracing() -> Iterator[None]:
    """Let transformers leave the attention mask out when nothing is padded, as it does on a card.

    - Symptom: an unpadded step materialises a mask and takes the masked kernel.
    - Cause: `masking_utils` counts a fake tensor as tracing, where it may not look at values.
    - Remove when `is_tracing` tells fake tensors from tracing.

    Raises:
        ContractError: `transformers.masking_utils.is_tracing` is gone.
    """
    from transformers import masking_utils

    original = require(masking_utils, "is_tracing", "transformers 5.17")
    masking_utils.__dict__["is_tracing"] = lambda *_: False
    try:
        yield
    finally:
        masking_utils.__dict__["is_tracing"] = original


def expected_kernels(spec: StepSpec, config: Any) -> tuple[str, ...]:
    """Names of operations of which one runs in every layer; empty in float32, where the math path is many."""
    window = getattr(config, "sliding_window", None)
    if spec.padded:
        return (EFFICIENT,)
    if window is not None and window <= spec.prompt + spec.completion:  # layers with a window need a mask
        return FLASH, EFFICIENT
    return () if spec.dtype == "float32" else (FLASH,)


def _cuda_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **_: Any
) -> tuple[Any, None]:
    """Attention by transformers' interface: q, k, v (B, heads, S, D), mask (B, 1, S, S) or None; out (B, S, heads, D).

    What `scaled_dot_product_attention` takes on CUDA: with a mask the memory-efficient kernel; without one flash
    attention, which knows grouped queries; in float32, which flash does not know, `_float32_attention`.
    """
    import torch

    if attention_mask is not None:
        out = _masked_attention(module, query, key, value, attention_mask, scaling)
    elif query.dtype == torch.float32:
        out = _float32_attention(query, key, value, scaling)
    else:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        out = flash(query, key, value, 0.0, True, scale=scaling)[0]
    return out.transpose(1, 2).contiguous(), None


def _float32_attention(query: Any, key: Any, value: Any, scaling: float | None) -> Any:
    """Grouped queries fall to the math path and its S x S scores: the memory-efficient kernel does not know them."""
    import torch

    if query.shape[1] != key.shape[1]:
        math = torch.ops.aten._scaled_dot_product_attention_math
        return math(query, key, value, None, 0.0, True, scale=scaling, enable_gqa=True)[0]
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(query, key, value, None, _wants_gradient(query, key, value), 0.0, True, scale=scaling)[0]


def _masked_attention(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None) -> Any:
    """The memory-efficient kernel over repeated keys and values, with a bias of q's dtype."""
    import torch
    from torch.nn.functional import pad
    from transformers.integrations.sdpa_attention import repeat_kv

    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    length = mask.shape[-1]
    if length % 8:  # the kernel wants rows of 16 bytes
        mask = pad(mask, (0, 8 - length % 8))[..., :length]
    mask = mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(query, key, value, mask, _wants_gradient(query, key, value), 0.0, False, scale=scaling)[0]


def _wants_gradient(*tensors: Any) -> bool:
    import torch

    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
