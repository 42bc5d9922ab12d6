"""What a user should know before the first step: settings that act otherwise than asked, not at all, or as a trap."""

from __future__ import annotations

import math
from typing import Any

from toolkit.backends.shared import linear_targets
from toolkit.settings import GrpoSettings
from toolkit.settings.resolved import Resolved
from toolkit.training.engine_defaults import plain, that_matter
from toolkit.training.grpo import Assembly
from toolkit.training.sampling import biased_sampling

OF_VLLM = ("gpu_memory_utilization", "standby")
"""Settings that act on vLLM alone."""


def notices(assembly: Assembly) -> list[str]:
    """What to say before training, a line each: settings that were changed, added by the engine, idle, or biasing."""
    trainer, config = assembly.trainer, assembly.trainer.model.config
    lines = [f"setting changed: {difference}" for difference in differences(assembly)]
    has_experts = any(getattr(config, name, None) for name in ("num_experts", "num_local_experts"))
    defaults = that_matter(assembly.engine_defaults, use_vllm=trainer.args.use_vllm, has_experts=has_experts)
    if defaults:
        lines.append(f"not asked for, set by Unsloth: {', '.join(map(str, defaults))}")
    idle = idle_settings(assembly.resolved)
    why = why_idle(trainer.args)
    if idle and why:
        lines.append(f"no effect {why}: {', '.join(idle)}")
    biased = biased_sampling(trainer)
    if biased:
        lines.append(
            f"sampling with {', '.join(biased)}: completions come from another distribution than the one whose "
            "log-probabilities are trained, which biases every update"
        )
    return lines


def why_idle(args: Any) -> str:
    """Why the settings in `OF_VLLM` do nothing under these training arguments; empty where they act."""
    if not args.use_vllm:
        return "without vLLM, which this run does not use"
    if args.vllm_mode == "server":
        return "on a vLLM server, which was given its own"
    return "on vLLM's CPU engine" if args.use_cpu else ""


def idle_settings(resolved: Resolved[Any]) -> list[str]:
    """`name value` of each setting of vLLM's that a person gave."""
    return [f"{name} {getattr(resolved.settings.model, name)}" for name in OF_VLLM if name in resolved.given]


def differences(assembly: Assembly) -> list[str]:
    """What does not have the value that was asked for: by the user, or by us of GRPOConfig; a line each.

    Of a mapping the keys that were asked for are compared, since TRL adds its own; another spelling of the same value
    (`none` and `[]`) and torch's fused kernel of the same optimizer are no difference.
    """
    settings: GrpoSettings = assembly.resolved.settings
    by_user: dict[str, Any] = {**vars(settings.rollout), **vars(settings.optim), **vars(settings.model)}
    by_user |= settings.grpo | {"target_modules": sorted(linear_targets(settings.model))}
    del by_user["gradient_checkpointing"]  # how, for us; whether, for TRL
    asked = assembly.asked | {name: plain(value) for name, value in by_user.items() if value is not None}
    found = []
    for name, value in asked.items():
        if value is None or name not in assembly.effective:
            continue
        effective = assembly.effective[name]
        pairs = {name: (value, effective)}
        if isinstance(value, dict) and isinstance(effective, dict):
            pairs = {f"{name}.{key}": (wanted, effective.get(key)) for key, wanted in value.items()}
        for shown, (wanted, there) in pairs.items():
            if not _same(wanted, there):
                found.append(f"{shown}: asked {_shown(wanted)}, in effect {_shown(there)}")
    return found


def _same(requested: Any, effective: Any) -> bool:
    if isinstance(requested, str) and isinstance(effective, list):  # `report_to`, which is kept as a list
        return effective == ([] if requested in ("none", "all") else [requested])
    if isinstance(requested, str) and isinstance(effective, str):
        return requested.removesuffix("_fused") == effective.removesuffix("_fused")
    if isinstance(requested, list) and isinstance(effective, list):
        return len(requested) == len(effective) and all(map(_same, requested, effective))
    if isinstance(requested, float) and isinstance(effective, float):  # `reward_weights`, a tensor in effect
        return math.isclose(requested, effective, rel_tol=1e-6)
    return requested == effective


def _shown(value: Any) -> str:
    """A value as it would be typed."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value is None else str(value)
