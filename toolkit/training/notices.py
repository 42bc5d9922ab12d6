"""What a user should know before the first step: settings that act otherwise than asked, not at all, or as a trap."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from toolkit.runs import Run
from toolkit.settings import GrpoSettings, ModelSettings
from toolkit.settings.parse import given_names
from toolkit.training.engine_defaults import EngineDefault, that_matter
from toolkit.training.grpo import differences

OF_VLLM = ("gpu_memory_utilization", "standby")
"""Settings that act on vLLM alone."""

# Names and values of GenerationConfig (transformers 5.17) and SamplingParams (vLLM 0.31) under which every token is
# drawn with the probability that the trainer computes for it. None and an empty list are neutral for all of them.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_sample": (True,),
    "num_beams": (1,),
    "top_p": (1.0,),
    "top_k": (0, -1),
    "min_p": (0.0,),
    "top_h": (1.0,),
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "repetition_penalty": (1.0,),
    "presence_penalty": (0.0,),
    "frequency_penalty": (0.0,),
    "no_repeat_ngram_size": (0,),
    "min_new_tokens": (0,),
    "min_tokens": (0,),
    "bad_words_ids": (),
    "bad_words": (),
    "suppress_tokens": (),
    "logit_bias": (),
    "allowed_token_ids": (),
}
_FROM_CONFIG = ("top_p", "top_k", "min_p", "repetition_penalty")
"""Those of them that GRPOConfig has a field for; `generation_kwargs` wins over it."""


def notices(trainer: Any, settings: GrpoSettings, run: Run) -> list[str]:
    """What to say before training, a line each.

    Changed settings, the engine's own defaults, settings without effect, sampling that biases.
    """
    lines = [f"setting changed: {difference}" for difference in differences(settings, run)]
    defaults = engine_defaults_that_matter(trainer, run)
    if defaults:
        lines.append(f"not asked for, set by Unsloth: {', '.join(map(str, defaults))}")
    idle = idle_settings(settings, given_names(run.read("environment.json").get("argv", [])))
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


def engine_defaults_that_matter(trainer: Any, run: Run) -> list[EngineDefault]:
    """Of what settings.json has as `engine_defaults`, those that change what this run learns."""
    recorded = [EngineDefault(**row) for row in run.read("settings.json").get("engine_defaults", [])]
    experts = any(getattr(trainer.model.config, name, None) for name in ("num_experts", "num_local_experts"))
    return that_matter(recorded, use_vllm=trainer.args.use_vllm, has_experts=experts)


def why_idle(args: Any) -> str:
    """Why the settings in `OF_VLLM` do nothing under these training arguments; empty where they act."""
    if not args.use_vllm:
        return "without vLLM, which this run does not use"
    if args.vllm_mode == "server":
        return "on a vLLM server, which was given its own"
    return "on vLLM's CPU engine" if args.use_cpu else ""


def idle_settings(settings: GrpoSettings, given: set[str]) -> list[str]:
    """`name value` of each setting of vLLM's that was chosen: by a flag (`given`), or by a file and not its default."""
    defaults = {f.name: f.default for f in fields(ModelSettings)}
    values = {name: getattr(settings.model, name) for name in OF_VLLM}
    return [f"{name} {value}" for name, value in values.items() if name in given or value != defaults[name]]


def biased_sampling(trainer: Any) -> list[str]:
    """`name value` of each setting under which the sampler's probabilities are not those that the trainer computes.

    The trainer takes a softmax of the logits over `temperature`, over the whole vocabulary. A sampler that cuts the
    tail off, or penalises tokens, or has a temperature of its own, draws from something else (trl#6789).
    """
    sampler = {name: getattr(trainer, name, None) for name in _FROM_CONFIG} | (trainer.args.generation_kwargs or {})
    biased = [
        f"{name} {value}"
        for name, value in sampler.items()
        if name in NEUTRAL and value not in (None, [], {}, *NEUTRAL[name])
    ]
    temperature = sampler.get("temperature", trainer.temperature)
    if temperature != trainer.temperature:
        biased.append(f"temperature {temperature} (the trainer's is {trainer.temperature})")
    return biased
