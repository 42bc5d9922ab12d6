"""What a user should know before the first step: settings that act otherwise than asked, not at all, or as a trap."""

from __future__ import annotations

from typing import Any

from toolkit.settings.resolved import Resolved
from toolkit.training.differences import differences
from toolkit.training.engine_defaults import EngineDefault, that_matter
from toolkit.training.grpo import Assembly
from toolkit.training.sampling import biased_sampling

OF_VLLM = ("gpu_memory_utilization", "standby")
"""Settings that act on vLLM alone."""


def notices(assembly: Assembly) -> list[str]:
    """What to say before training, a line each.

    Changed settings, the engine's own defaults, settings without effect, sampling that biases.
    """
    trainer = assembly.trainer
    lines = [f"setting changed: {difference}" for difference in differences(assembly)]
    defaults = engine_defaults_that_matter(assembly)
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


def engine_defaults_that_matter(assembly: Assembly) -> list[EngineDefault]:
    """The engine's defaults that change what this run learns."""
    config, args = assembly.trainer.model.config, assembly.trainer.args
    experts = any(getattr(config, name, None) for name in ("num_experts", "num_local_experts"))
    return that_matter(assembly.engine_defaults, use_vllm=args.use_vllm, has_experts=experts)


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
