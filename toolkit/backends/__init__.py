"""The engines, and the choice between them: a value with its reason."""

from __future__ import annotations

import importlib.util

from toolkit.backends.base import Choice
from toolkit.compat.versions import GPU_LINE
from toolkit.devices import Gpu
from toolkit.errors import BackendError
from toolkit.settings import ModelSettings


def choose(settings: ModelSettings, gpus: list[Gpu], why_no_gpu: str) -> Choice:
    """Choose the engine for this machine, importing none.

    Raises:
        BackendError: unsloth was asked for and is not installed, or a GPU is required and there is none.
    """
    from toolkit.backends.transformers import TransformersBackend
    from toolkit.backends.unsloth import UnslothBackend

    gpu = gpus[0] if gpus else None
    if settings.require_gpu and gpu is None:
        raise BackendError(f"--require_gpu, and {why_no_gpu}", "a CUDA device", "run: toolkit doctor, or drop the flag")
    if settings.use_vllm and importlib.util.find_spec("vllm") is None:
        raise BackendError("--use_vllm True, and vllm is not installed", GPU_LINE, "or drop the flag")
    has_unsloth = importlib.util.find_spec("unsloth") is not None
    if settings.backend == "unsloth":
        if not has_unsloth:
            raise BackendError("--backend unsloth, and unsloth is not installed", GPU_LINE, "or --backend transformers")
        mode = f"on {gpu.name}" if gpu else "in its CPU mode"
        return Choice(UnslothBackend(gpu), f"asked for, {mode}")
    if settings.backend == "transformers":
        return Choice(TransformersBackend(gpu), f"asked for, on {gpu.name if gpu else 'the CPU'}")
    if gpu is None:
        return Choice(TransformersBackend(None), why_no_gpu)
    if has_unsloth:
        return Choice(UnslothBackend(gpu), f"{gpu.name} and unsloth are there")
    return Choice(TransformersBackend(gpu), f"{gpu.name} is there but unsloth is not; for it: {GPU_LINE}")
