"""Attention as CUDA computes it, on fake tensors."""

from __future__ import annotations

from functools import partial
from typing import Any

from toolkit.compat.contracts import require
from toolkit.vram.formula.update import Update
from toolkit.vram.simulation.watch import EFFICIENT, FLASH

# `Update.attention` -> `attn_implementation` of the simulated model
# ("simulated_flash" would make transformers fetch a kernel)
IMPLEMENTATIONS = {"flash": "simulated_cuda", "efficient": "simulated_efficient", "eager": "simulated_eager"}


def register_cuda_attention() -> None:
    """Make the names in `IMPLEMENTATIONS` known to transformers. Idempotent.

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
    for kind, function, mask in (
        ("flash", _cuda_attention, "sdpa"),
        ("efficient", partial(_cuda_attention, has_flash=False), "sdpa"),
        ("eager", _eager_attention, "eager"),
    ):
        attention.register(IMPLEMENTATIONS[kind], function)
        masks.register(IMPLEMENTATIONS[kind], known_masks[mask])


def expected_kernels(update: Update, config: Any) -> tuple[str, ...]:
    """Names of operations: one of them must run in every layer. Empty where attention is no single operation."""
    window = getattr(config, "sliding_window", None)
    if update.attention == "eager":
        return ()
    if update.padded or update.attention == "efficient":
        return (EFFICIENT,)
    if window is not None and window <= update.tokens.length:  # layers with a window need a mask
        return FLASH, EFFICIENT
    return () if update.dtype == "fp32" else (FLASH,)


def _cuda_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    has_flash: bool = True,
    **_: Any,
) -> tuple[Any, None]:
    """Attention by transformers' interface: q, k, v (B, heads, S, D), mask (B, 1, S, S) or None; out (B, S, heads, D).

    What `scaled_dot_product_attention` takes on CUDA: with a mask the memory-efficient kernel; without one flash
    attention, which knows grouped queries; in float32, which flash does not know, `_float32_attention`. On cards
    without flash it is the memory-efficient kernel throughout.
    """
    import torch

    query, key, value = _autocast(query, key, value)
    if attention_mask is not None or not has_flash:
        out = _repeated_efficient(module, query, key, value, attention_mask, scaling)
    elif query.dtype == torch.float32:
        out = _float32_attention(query, key, value, scaling)
    else:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        out = flash(query, key, value, 0.0, True, scale=scaling)[0]
    return out.transpose(1, 2).contiguous(), None


def _autocast(*tensors: Any) -> tuple[Any, ...]:
    """What `scaled_dot_product_attention` does to its inputs, and the kernels that are called here do not."""
    import torch

    if not torch.is_autocast_enabled("cpu"):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype("cpu")) for tensor in tensors)


def _eager_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Any, Any]:
    """As the models' own `eager_attention_forward`; a softmax in float32 of float16 scores is one kernel on CUDA."""
    import torch
    from transformers.integrations.sdpa_attention import repeat_kv

    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if softcap is not None:  # Gemma 2
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        scores = scores + attention_mask
    if scores.dtype == torch.float16:
        probabilities = torch.ops.aten._softmax(scores, -1, True)
    else:
        probabilities = torch.nn.functional.softmax(scores, dim=-1, dtype=torch.float32)
    weights = probabilities.to(query.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def _float32_attention(query: Any, key: Any, value: Any, scaling: float | None) -> Any:
    """The memory-efficient kernel, or for grouped queries, which it lacks, the math path with its S x S scores."""
    import torch

    if query.shape[1] != key.shape[1]:
        math = torch.ops.aten._scaled_dot_product_attention_math
        return math(query, key, value, None, 0.0, True, scale=scaling, enable_gqa=True)[0]
    return _efficient(query, key, value, None, scaling)


def _repeated_efficient(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None) -> Any:
    """The memory-efficient kernel over repeated keys and values, with a bias of q's dtype when there is a mask."""
    import torch
    from torch.nn.functional import pad
    from transformers.integrations.sdpa_attention import repeat_kv

    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if mask is None:
        return _efficient(query, key, value, None, scaling)
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    length = mask.shape[-1]
    if length % 8:  # the kernel wants rows of 16 bytes
        mask = pad(mask, (0, 8 - length % 8))[..., :length]
    return _efficient(query, key, value, mask.expand(*query.shape[:3], key.shape[2]), scaling)


def _efficient(query: Any, key: Any, value: Any, bias: Any, scaling: float | None) -> Any:
    """The kernel itself, causal where no bias says which scores count."""
    import torch

    wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(query, key, value, bias, wants_gradient, 0.0, bias is None, scale=scaling)[0]
