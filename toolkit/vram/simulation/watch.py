"""Follows every storage of a step on fake tensors, and corrects what a dispatch mode changes.

Workspaces that CUDA kernels take within one operation, where no dispatcher sees them, are counted by hand.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit.compat.contracts import require
from toolkit.vram.formula.costs import NF4_BLOCK
from toolkit.vram.simulation.allocator import rounded
from toolkit.vram.simulation.ledger import Ledger

if TYPE_CHECKING:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

FLASH, EFFICIENT = "aten._scaled_dot_product_flash_attention", "aten._scaled_dot_product_efficient_attention"
GEMM_4BIT = "bitsandbytes.gemm_4bit"
SOFTMAX_BACKWARD = "aten._softmax_backward_data"
FUSED_GEMM_ROWS = 256  # up to here every card since Turing may multiply 4-bit weights without unpacking them
FLOAT32_BYTES = 4
HOST = "meta"  # the fake device that stands for the host; fake `cpu` stands for the card


class StorageWatch:
    """Books each storage into `ledger` when an operation makes it and closes the entry when it dies.

    `mask_is_full` is the answer to every yes-or-no question about values: a step asks only whether the attention mask
    is all ones. Numbers (Adam's step count) read as 1. `n_selected` is how many rows a boolean mask selects: those of a
    fake mask cannot be counted.

    `calls` counts the operations by name, so that a caller can see whether a kernel it relies on ran at all.
    """

    def __init__(self, ledger: Ledger, *, mask_is_full: bool, n_selected: int) -> None:
        import torch

        self.ledger = ledger
        self.calls: Counter[str] = Counter()
        self._mask_is_full = mask_is_full
        self._n_selected = n_selected
        self._entries: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._aten, self._bool = torch.ops.aten, torch.bool
        self._names: dict[Any, str] = {}
        self._storage_uses: Callable[[int], int] = require(torch._C, "_storage_Use_Count", "torch 2.13")
        self._graph_task: Callable[[], int] = require(torch._C, "_current_graph_task_id", "torch 2.13")
        self._in_place = {
            self._aten.scatter_add.default: self._aten.scatter_add_.default,
            self._aten.index_put.default: self._aten.index_put_.default,
            self._aten.index_add.default: self._aten.index_add_.default,
        }

    def mode(self) -> TorchDispatchMode:
        """Return the context manager under which operations are followed."""
        from torch.utils._python_dispatch import TorchDispatchMode

        dispatch = self._dispatch

        class Watching(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                return dispatch(func, args, kwargs or {})

        return Watching()

    def follow(self, tensor: torch.Tensor, part: str | None = None) -> None:
        """Book the tensor's storage, once; with `part`, (re)book it there. The host's storages are not booked."""
        device = getattr(tensor, "fake_device", None)
        if device is not None and device.type == HOST:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._entries:
            if part is not None:
                self.ledger.move(self._entries[key][0], part)
        elif nbytes := int(storage.nbytes()):
            entry = self.ledger.open(nbytes, part or "rest")
            self._entries[key] = (entry, weakref.ref(storage, lambda _: self._forget(key)))

    def _forget(self, key: int) -> None:
        self.ledger.close(self._entries.pop(key)[0])

    def _dispatch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from torch.utils._pytree import tree_leaves

        if func.is_view or func.namespace == "prim":
            return func(*args, **kwargs)
        name = self._names.get(func) or self._names.setdefault(func, str(func))
        self.calls[name] += 1
        if func is self._aten._local_scalar_dense.default:
            return float(self._mask_is_full) if args[0].dtype == self._bool else 1.0
        if func is self._aten.index.Tensor and (selected := self._select_rows(*args)) is not None:
            return selected
        if (accumulated := self._accumulate(func, args, kwargs)) is not None:
            return accumulated
        out = func(*args, **kwargs)
        for leaf in tree_leaves(out):
            if hasattr(leaf, "untyped_storage"):
                self.follow(leaf)
        self.ledger.spike(workspace_bytes(name, args, kwargs))
        return out

    def _select_rows(self, source: torch.Tensor, indices: list[torch.Tensor | None]) -> torch.Tensor | None:
        """`source[mask]` at its largest, with `nonzero`'s int64 coordinates beside it; None for other indices.

        A fake mask has no count: else this shape would depend on data, and every shape after it.
        """
        import torch

        mask = indices[0] if indices else None
        if mask is None or mask.dtype != torch.bool:
            return None
        selected = source.new_empty((self._n_selected, *source.shape[mask.ndim :]))
        self.ledger.spike(self._n_selected * 8 * mask.ndim)
        self.follow(selected)
        return selected

    def _accumulate(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
        """Redirect a backward pass's sums and scatters to their in-place forms; None when this is not one.

        - Symptom: the plain-logits head comes out 7 to 15 % too high.
        - Cause: autograd adds gradients in place unless a dispatch mode is active, because it cannot know that the
          mode would allow it (torch/csrc/autograd/input_buffer.cpp, `areAnyTensorSubclassLike` in FunctionsManual.cpp).
        - Remove when the engine asks the mode.

        The engine adds into the gradient that came first or into neither, even when the second is free. A recomputed
        forward pass also runs inside the backward pass, but with gradients enabled: it keeps its own sums.
        """
        import torch

        if torch.is_grad_enabled() or self._graph_task() == -1:
            return None
        if func in self._in_place:
            self._in_place[func](*args, **kwargs)
            return args[0]
        is_sum = func is self._aten.add.Tensor and len(args) == 2 and isinstance(args[1], torch.Tensor)
        return args[0].add_(args[1]) if is_sum and self._is_free(*args) else None

    def _is_free(self, target: torch.Tensor, other: torch.Tensor) -> bool:
        """Whether the sum may land in `target`: it has the sum's shape and dtype, and nobody else holds its storage."""
        same_kind = target.dtype == other.dtype and target.shape == other.shape
        uses = self._storage_uses(target.untyped_storage()._cdata)  # one for the tensor, one for the wrapper just made
        return same_kind and not target._is_view() and uses <= 2


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
