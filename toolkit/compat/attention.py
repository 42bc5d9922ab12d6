"""Which attention computes, in training and in rollouts: read from the engines' own state, never chosen here.

It decides speed and memory, and engines fall back without a word: Unsloth to PyTorch's where xformers has no kernel for
the card, vLLM to Triton's where FlashAttention has none. Of a name that is gone it is `unknown`: only a record suffers.
"""

from __future__ import annotations

import sys
from typing import Any

UNKNOWN = "unknown"
OWN_GENERATE, OF_SERVER = "generate", "server"
SPELLED = {
    "eager": "plain PyTorch",
    "sdpa": "PyTorch's SDPA",
    "flash_attention_2": "FlashAttention 2",
    "flash_dense": "FlashAttention",
    "FLASH_ATTN": "FlashAttention",
    "FLASHINFER": "FlashInfer",
    "TRITON_ATTN": "Triton",
    "CPU_ATTN": "vLLM's own for CPUs",
    OF_SERVER: "what the server takes",
}
"""The engines' names as a person knows them; any other stays as it is."""


def of_training(model: Any) -> str:
    """What a model's own forward pass takes: Unsloth's name where its forward stands in, else transformers'.

    Unsloth takes `sdpa` for a batch whose padding is on the left, whatever it says here.
    """
    dispatch = sys.modules.get("unsloth.utils.attention_dispatch")  # to import it would patch what its CPU mode leaves
    if dispatch is not None and _is_unsloths(model):
        choose = getattr(dispatch, "select_attention_backend", None)
        return str(choose()) if choose else UNKNOWN
    return getattr(model.config, "_attn_implementation", None) or UNKNOWN


def of_rollouts(trainer: Any) -> str:
    """What the sampler of a GRPOTrainer takes: vLLM's name, by the layers of the engine in this process."""
    if not trainer.use_vllm:
        return OWN_GENERATE
    engine = getattr(trainer.vllm_generation, "llm", None)
    if engine is None:
        return OF_SERVER
    config = getattr(getattr(engine, "llm_engine", None), "vllm_config", None)
    layers = getattr(getattr(config, "compilation_config", None), "static_forward_context", {}).values()
    names = [layer.get_attn_backend().get_name() for layer in layers if hasattr(layer, "get_attn_backend")]
    return ", ".join(dict.fromkeys(names)) or UNKNOWN


def sentence(training: str, rollouts: str) -> str:
    """`attention: xformers in training, FlashInfer in rollouts`."""
    name = SPELLED.get(training, training)
    if rollouts == OWN_GENERATE:
        return f"attention: {name} in training and rollouts"
    return f"attention: {name} in training, {SPELLED.get(rollouts, rollouts)} in rollouts"


def _is_unsloths(model: Any) -> bool:
    layers = [type(module) for module in model.modules() if type(module).__name__.endswith("Attention")]
    return bool(layers) and layers[0].forward.__module__.startswith("unsloth.")
