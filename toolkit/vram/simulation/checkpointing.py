"""Gradient checkpointing: which of a layer's tensors wait for the backward pass, and where."""

from __future__ import annotations

from functools import cache
from typing import Any

from toolkit.errors import ContractError


def set_checkpointing(model: Any, kind: str) -> None:
    """Switch gradient checkpointing as TRL's non-reentrant default (`hf`) or as Unsloth does (`unsloth`).

    Raises:
        ContractError: no layer took the switch; the step would then be simulated without checkpointing.
    """
    if kind == "none":
        return
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()  # the embeddings are frozen: without it nothing below the adapters has a graph
    layers = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    layers = [layer for layer in layers if hasattr(layer, "_gradient_checkpointing_func")]
    if not layers:
        raise ContractError("no layer took gradient checkpointing", "transformers 5.17", "run: toolkit doctor")
    if kind == "unsloth":
        for layer in layers:
            layer._gradient_checkpointing_func = _checkpoint_on_host


def _checkpoint_on_host(layer: Any, hidden: Any, *rest: Any) -> Any:
    return _host_checkpoint().apply(layer, hidden, *rest)


@cache
def _host_checkpoint() -> Any:
    """As `Unsloth_Offloaded_Gradient_Checkpointer`: the input waits on the host and returns for the recompute.

    The recompute has the forward's autocast, by `custom_bwd`.
    """
    import torch
    from torch.amp.autocast_mode import custom_bwd, custom_fwd

    class HostCheckpoint(torch.autograd.Function):
        @staticmethod
        @custom_fwd(device_type="cpu")
        def forward(ctx: Any, layer: Any, hidden: Any, *rest: Any) -> Any:
            ctx.save_for_backward(torch.empty(hidden.shape, dtype=hidden.dtype, device="meta"))  # meta is the host
            ctx.layer, ctx.rest = layer, rest
            with torch.no_grad():
                return layer(hidden, *rest)

        @staticmethod
        @custom_bwd(device_type="cpu")
        def backward(ctx: Any, *gradients: Any) -> Any:
            (saved,) = ctx.saved_tensors
            hidden = torch.empty(saved.shape, dtype=saved.dtype, device="cpu").requires_grad_(True)
            with torch.enable_grad():
                out = ctx.layer(hidden, *ctx.rest)
            torch.autograd.backward(out, gradients[0])
            return None, hidden.grad, *(None for _ in ctx.rest)

    return HostCheckpoint
