"""Tensors without data: what of TRL 1.15 and transformers 5.17 does not run on them, and is helped over it.

Each function raises ContractError where a name that it replaces is gone.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from toolkit.compat.contracts import require
from toolkit.errors import ContractError

TRL = "trl 1.15"


@contextmanager
def trl_head_without_triton() -> Iterator[None]:
    """Let TRL's fused head run on fake tensors: its own autograd function, with kernels that launch nothing.

    - Symptom: `'NoneType' object has no attribute 'apply'` without triton; `0 active drivers` with it.
    - Since TRL 1.14: the head is `trl/kernels/chunked_logprob.py`, Triton only.
    - Remove when the head has a path for tensors without data.

    The file is executed as a private copy, so the real kernels of a process that trains are left alone.
    """
    import trl.trainer.utils as trl_utils

    original, names = require(trl_utils, "_ChunkedLogProbFunction", TRL), trl_utils.__dict__
    names["_ChunkedLogProbFunction"] = _load_trl_kernel()
    try:
        yield
    finally:
        names["_ChunkedLogProbFunction"] = original


def _load_trl_kernel() -> Any:
    import trl

    path = Path(trl.__file__).parent / "kernels" / "chunked_logprob.py"
    spec = importlib.util.spec_from_file_location("trl.kernels.simulated_chunked_logprob", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ContractError("trl has no kernels/chunked_logprob.py", TRL, "run: toolkit doctor")
    module = importlib.util.module_from_spec(spec)
    shadowed = {name: sys.modules.get(name) for name in ("triton", "triton.language")}
    sys.modules |= _stub_triton()
    try:
        spec.loader.exec_module(module)
    finally:
        for name, real in shadowed.items():
            sys.modules.pop(name) if real is None else sys.modules.update({name: real})
    require(module, "_addmm_fp32", TRL)
    # On CUDA it adds in place with a float32 output; its CPU branch would make float32 copies of both factors
    module.__dict__["_addmm_fp32"] = lambda acc, a, b: None
    return require(module, "ChunkedLogProbFunction", TRL)


class _NoLaunch:
    """Stands for a jitted kernel: `kernel[grid](...)` does nothing."""

    def __getitem__(self, grid: Any) -> Any:
        return lambda *args, **kwargs: None


def _stub_triton() -> dict[str, ModuleType]:
    triton, language = ModuleType("triton"), ModuleType("triton.language")
    language.__dict__["constexpr"] = object
    triton.__dict__.update(language=language, jit=lambda function: _NoLaunch(), cdiv=lambda a, b: -(-a // b))
    return {"triton": triton, "triton.language": language}


@contextmanager
def are_not_tracing() -> Iterator[None]:
    """Let transformers leave the attention mask out when nothing is padded, as it does on a card.

    - Symptom: an unpadded step materialises a mask and takes the masked kernel.
    - Cause: `masking_utils` counts a fake tensor as tracing, where it may not look at values.
    - Remove when `is_tracing` tells fake tensors from tracing.
    """
    from transformers import masking_utils

    original = require(masking_utils, "is_tracing", "transformers 5.17")
    masking_utils.__dict__["is_tracing"] = lambda *_: False
    try:
        yield
    finally:
        masking_utils.__dict__["is_tracing"] = original
