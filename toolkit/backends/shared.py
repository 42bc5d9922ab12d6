"""What both engines in this process do alike: types, GRPOConfig fields of the device, adapted layers, the merge."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends.base import Policy
from toolkit.errors import BackendError
from toolkit.settings import ALL_LINEAR, ModelSettings

if TYPE_CHECKING:
    from toolkit.machine.devices import Gpu


def dtype_name(gpu: Gpu | None) -> str:
    """float32 on a CPU (autocast there doubles the step), bfloat16 from Ampere on, else float16."""
    return "float32" if gpu is None else "bfloat16" if gpu.has_bf16 else "float16"


def device_fields(gpu: Gpu | None, asked: ModelSettings) -> dict[str, Any]:
    """GRPOConfig fields for the device; both bf16 and gradient checkpointing default to on in TRL."""
    dtype = dtype_name(gpu)
    return {
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": gpu is None,
        "gradient_checkpointing": asked.gradient_checkpointing != "none",
        "dataloader_pin_memory": gpu is not None,
    }


def linear_targets(asked: ModelSettings) -> tuple[str, ...]:
    """The layers to adapt; `all-linear` is the seven projections, since TRL refuses an adapter on the head."""
    return ALL_LINEAR if asked.target_modules == ("all-linear",) else asked.target_modules


def check_targets(model: Any, asked: ModelSettings) -> None:
    """Raise BackendError when a target module names no layer of the model, or there is none."""
    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    some = f"some of {', '.join(sorted(leaf for leaf in leaves if leaf.endswith('_proj')))}"
    if not linear_targets(asked):
        raise BackendError("--target_modules names no layer", some)
    for target in linear_targets(asked):
        if target not in leaves:
            raise BackendError(f"--target_modules {target}: the model has no such layer", some)


def merge_16bit(policy: Policy, adapter: Path, folder: Path) -> None:
    """Load the base again in 16 bit on the CPU, add the saved adapter, and write safetensors."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    dtype = torch.float16 if policy.dtype == "float16" else torch.bfloat16
    base = AutoModelForCausalLM.from_pretrained(
        policy.source, dtype=dtype, device_map={"": "cpu"}, trust_remote_code=False, use_safetensors=True
    )
    merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    del base, merged
    gc.collect()
