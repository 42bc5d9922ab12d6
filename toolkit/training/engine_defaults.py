"""What the trainer's engine sets otherwise than TRL would, setting by setting.

Unsloth puts classes that it generates in the place of TRL's GRPOConfig and GRPOTrainer, with defaults of its own: some
are for less memory, some change what is learnt (`weight_decay`, the correction for vLLM's probabilities, DAPO's clip).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_QUIET = ("eval_", "per_device_eval_", "logging_", "fp16_full_eval", "bf16_full_eval", "torch_empty_cache_steps")
"""Beginnings of names that do not touch what is learnt: evaluation inside the trainer, logs, the allocator."""

_NOTHING = {"top_k": (None, 0, -1)}
"""Where nothing is written in several ways; elsewhere those are None and {}."""


@dataclass(frozen=True)
class EngineDefault:
    """A setting that nobody asked for, with the value of TRL and the one in effect."""

    name: str
    of_trl: Any
    effective: Any

    def __str__(self) -> str:
        return f"{self.name} {self.effective} (TRL: {self.of_trl})"


def arguments_of_trl(config_class: type, asked: Mapping[str, Any]) -> Any | None:
    """What TRL's own GRPOConfig makes of these fields; None where `config_class` is TRL's own, or TRL refuses them.

    To be called before the trainer is built: transformers resets accelerate's state whenever arguments are made.
    """
    own = [cls for cls in config_class.__mro__ if cls.__name__ == "GRPOConfig"][-1]
    if own is config_class:
        return None
    known = {field.name for field in fields(own)}
    try:
        return own(**{name: value for name, value in asked.items() if name in known})
    except ValueError:  # a batch that makes no whole groups, which Unsloth raises instead of refusing it
        return None


def engine_defaults(of_trl: Any | None, args: Any, asked: Mapping[str, Any]) -> list[EngineDefault]:
    """Every field that was not asked for and has another value than TRL would give it; values as JSON can hold them."""
    if of_trl is None:
        return []
    pairs = (
        EngineDefault(field.name, plain(getattr(of_trl, field.name)), plain(getattr(args, field.name, None)))
        for field in fields(of_trl)
        if field.name not in asked
    )
    return [pair for pair in pairs if pair.of_trl != pair.effective]


def that_matter(defaults: list[EngineDefault], *, use_vllm: bool, has_experts: bool) -> list[EngineDefault]:
    """Those that change what is learnt in this run; `vllm_*` does with vLLM alone, the router's loss with experts."""
    return [
        default
        for default in defaults
        if not default.name.startswith(_QUIET)
        and (use_vllm or not default.name.startswith("vllm_"))
        and (has_experts or default.name != "router_aux_loss_coef")
        and not all(value in _NOTHING.get(default.name, (None, {})) for value in (default.of_trl, default.effective))
    ]


def plain(value: Any) -> Any:
    """Enums to their value, tensors to lists, paths to text: what JSON can hold and `==` can compare."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "value") and type(value).__module__.startswith(("transformers", "trl")):
        return value.value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, dict, type(None))) else str(value)
