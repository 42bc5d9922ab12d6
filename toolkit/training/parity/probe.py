"""The weights that a run trains, moved on purpose and put back, bit for bit."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.compat.vllm import random_state_kept

if TYPE_CHECKING:
    import torch

# Parts of a parameter's name that say nothing of the layer it belongs to
_NOT_A_LAYER = ("weight", "bias", "modules_to_save", "default", "original_module")
RANDOM_SEED = 20_251  # of the sampling in a check, so that two checks of the same weights see the same text


@dataclass(frozen=True)
class Weight:
    """One tensor that a probe moves. `unit`: the standard deviation of the noise that counts as one."""

    name: str
    parameter: torch.nn.Parameter
    unit: float


Parts = dict[str, list[Weight]]
"""Layer name (`q_proj`, `lm_head`) -> the trained weights of all layers of that name."""


def parts(model: Any) -> Parts:
    """The weights that are trained, by layer name, in the model's order.

    Of a LoRA layer that is B: it starts at zero, and moving it moves the layer by `scaling * noise @ A`. Its unit makes
    that about as large as the layer's input, whatever rank, alpha and A are. A weight that is trained itself (a head in
    `modules_to_save`, a full fine-tune) is moved in units of its own root mean square.
    """
    from peft.tuners.lora import LoraLayer

    found: Parts = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            for adapter in module.active_adapters:
                if adapter in module.lora_B:
                    a: Any = module.lora_A[adapter].weight
                    b: Any = module.lora_B[adapter].weight
                    unit = 1.0 / (float(module.scaling[adapter]) * max(float(a.detach().float().norm()), 1e-6))
                    layer = name.rpartition(".")[2]
                    found.setdefault(layer, []).append(Weight(f"{name}.lora_B.{adapter}", b, unit))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_" not in name:
            layer = [part for part in name.split(".") if part not in _NOT_A_LAYER][-1]
            unit = max(float(parameter.detach().float().square().mean().sqrt()), 1e-6)
            found.setdefault(layer, []).append(Weight(name, parameter, unit))
    return found


@contextmanager
def moved(weights: Sequence[Weight], scale: float) -> Iterator[None]:
    """While entered, `scale * unit * noise` is added to each weight; the noise depends on its name and shape alone."""
    import torch

    kept = [weight.parameter.detach().to("cpu", copy=True) for weight in weights]
    try:
        with torch.no_grad():
            for weight in weights:
                generator = torch.Generator().manual_seed(zlib.crc32(weight.name.encode()))
                noise = torch.randn(weight.parameter.shape, generator=generator) * (scale * weight.unit)
                weight.parameter.add_(noise.to(weight.parameter.device, weight.parameter.dtype))
        yield
    finally:
        _put_back([weight.parameter for weight in weights], kept)


@contextmanager
def left_as_it_was(trainer: Any, *, merges: bool) -> Iterator[None]:
    """Undo, at the end, all that a check does to a trainer: weights, modes, random numbers, what the sampler holds.

    `merges`: the sampler's sync adds the adapter to the base and subtracts it again, which rounds, and replaces 4-bit
    weights by new ones. Then the base under the adapter is kept too: in host memory, or, where it is 4-bit, by holding
    on to it. The next rollout loads the weights anew.
    """
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    kept = [parameter.detach().to("cpu", copy=True) for parameter in trained]
    bases = _Bases(trainer.model) if merges else None
    modes = [(module, module.training) for module in trainer.model.modules()]
    with random_state_kept():
        try:
            yield
        finally:
            _put_back(trained, kept)
            if bases is not None:
                bases.put_back()
            for module, training in modes:
                module.training = training
            forget_sync(trainer)


def forget_sync(trainer: Any) -> None:
    """Make the next rollout load the trainer's weights, as TRL does once an optimizer step."""
    if trainer.use_vllm:
        trainer._last_loaded_step = -1


def seed() -> None:
    """Seed every generator that a sampler in this process may draw from."""
    import torch

    random.seed(RANDOM_SEED)
    torch.manual_seed(RANDOM_SEED)  # CUDA's too


class _Bases:
    """The base layers under a LoRA adapter as they are now."""

    def __init__(self, model: Any) -> None:
        from peft.tuners.lora import LoraLayer

        self._kept: list[tuple[Any, Any, Any]] = []
        for module in model.modules():
            if isinstance(module, LoraLayer):
                layer: Any = module.get_base_layer()
                is_packed = not layer.weight.is_floating_point()
                # A merge replaces a packed weight, and changes attributes of the old one (PEFT, tuners/lora/bnb.py)
                keep = dict(vars(layer.weight)) if is_packed else layer.weight.detach().to("cpu", copy=True)
                self._kept.append((layer, layer.weight, keep))

    def put_back(self) -> None:
        for layer, weight, keep in self._kept:
            layer.weight = weight
            if isinstance(keep, dict):
                vars(weight).clear()
                vars(weight).update(keep)
            else:
                _put_back([weight], [keep])


def _put_back(parameters: Sequence[torch.nn.Parameter], kept: Sequence[torch.Tensor]) -> None:
    """Copy in place, since an engine may share the memory; a dtype that was changed (TRL's `.to`) is changed back."""
    for parameter, value in zip(parameters, kept, strict=True):
        if parameter.dtype == value.dtype:
            parameter.data.copy_(value)
        else:
            parameter.data = value.to(parameter.device)
