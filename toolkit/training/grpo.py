"""The only place that fills GRPOConfig and builds GRPOTrainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.backends.base import Backend, Policy, count_4bit
from toolkit.backends.shared import linear_targets
from toolkit.data.schema import Row
from toolkit.display.console import say
from toolkit.errors import DataError, SettingsError
from toolkit.machine import processes
from toolkit.rewards.bench.check import check_before_training, refusal
from toolkit.runs import Run
from toolkit.settings import GrpoSettings
from toolkit.settings.batch import Batch, solve
from toolkit.training.engine_defaults import arguments_of_trl, engine_defaults, plain

RewardFunction = Callable[..., list[float | None]]


@dataclass(frozen=True)
class Reward:
    """A reward function and its weight in the sum."""

    function: RewardFunction
    weight: float = 1.0

    @property
    def name(self) -> str:
        return self.function.__name__


@dataclass(frozen=True)
class Difference:
    """A setting that does not have the value that was asked for."""

    name: str
    requested: Any
    effective: Any

    def __str__(self) -> str:
        return f"{self.name}: asked {_shown(self.requested)}, in effect {_shown(self.effective)}"


def config_fields(
    settings: GrpoSettings, rewards: Sequence[Reward], run: Run, device_fields: dict[str, Any]
) -> dict[str, Any]:
    """Every GRPOConfig field that this project sets; `--grpo.*` wins over the rest."""
    rollout, optim = settings.rollout, settings.optim
    batch = solve(rollout, processes.world_size())
    fields: dict[str, Any] = {
        "output_dir": str(run.checkpoints),
        "seed": settings.record.seed,
        "max_steps": optim.max_steps,
        "learning_rate": optim.learning_rate,
        "lr_scheduler_type": optim.lr_scheduler_type,
        "warmup_steps": optim.warmup_steps,
        "beta": optim.beta,
        "num_generations": rollout.num_generations,
        "max_completion_length": rollout.max_completion_length,
        "temperature": rollout.temperature,
        "per_device_train_batch_size": rollout.per_device_train_batch_size,
        "gradient_accumulation_steps": rollout.gradient_accumulation_steps,
        "steps_per_generation": batch.steps_per_generation,
        "reward_weights": [reward.weight for reward in rewards],
        "logging_steps": 1,  # TRL averages over the steps in between, and loses them at a kill
        "save_strategy": "steps",
        "save_steps": settings.record.save_steps,
        "save_total_limit": 2,  # one being written, one to fall back on
        "report_to": "none",
        "disable_tqdm": True,  # our own view shows progress
    }
    if processes.world_size() > 1:
        fields["ddp_find_unused_parameters"] = False  # every adapter weight is used; to look for others costs a pass
    return fields | device_fields | settings.grpo


def build_trainer(
    policy: Policy, rows: Sequence[Row], rewards: Sequence[Reward], settings: GrpoSettings, run: Run, backend: Backend
) -> Any:
    """Build TRL's GRPOTrainer (or what Unsloth made of it) for a policy.

    Writes to the run's settings.json what GRPOConfig was given, what is in effect, and what else the engine set
    otherwise than TRL. The policy's model becomes the trainer's, adapter included.

    Raises:
        RewardError: a reward fails its check on these rows (`toolkit reward check`); `--force` only says so.
        DataError: fewer rows than one round of rollouts needs, which TRL would turn into an empty epoch.
        SettingsError: TRL refuses a combination of fields; its own message is passed on.
    """
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback

    # From the package itself: that is where Unsloth puts its own two. TRL's lazy module hides them from pyright.
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportPrivateImportUsage]

    check_rewards(rewards, rows, run, force=settings.record.force)
    fields = config_fields(settings, rewards, run, backend.grpo_fields(settings, policy))
    needed = solve(settings.rollout, processes.world_size()).prompts_per_generation
    if len(rows) < needed:
        raise DataError(
            f"{len(rows)} training rows", f"at least {needed}, the prompts of one round", "use a smaller batch"
        )
    try:
        of_trl = arguments_of_trl(GRPOConfig, fields)
        trainer = GRPOTrainer(
            model=policy.model,
            reward_funcs=[reward.function for reward in rewards],
            args=GRPOConfig(**fields),
            train_dataset=Dataset.from_list(list(rows)),
            processing_class=policy.tokenizer,
            peft_config=policy.peft_config,
        )
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        found = f"TRL refuses the settings: {str(error).strip()}"
        raise SettingsError(found, next_step="change the named field") from error
    trainer.remove_callback(PrinterCallback)
    policy.model, policy.peft_config = trainer.model, None
    effective = effective_settings(trainer, fields) | effective_model_settings(trainer)
    run.update(
        "settings.json",
        grpo_config={name: plain(value) for name, value in fields.items()},
        effective=effective,
        engine_defaults=[asdict(default) for default in engine_defaults(of_trl, trainer.args, fields)],
    )
    return trainer


def check_rewards(rewards: Sequence[Reward], rows: Sequence[Row], run: Run, *, force: bool) -> None:
    """Check each reward on the first rows, in well under a second, and keep what was found in reward_check.json.

    Raises:
        RewardError: see `build_trainer`.
    """
    verdicts = [check_before_training(reward.function, rows) for reward in rewards if rows]
    run.write("reward_check.json", {verdict.reward: verdict.as_json() for verdict in verdicts})
    for error in filter(None, map(refusal, verdicts)):
        if not force:
            raise error
        say(f"{error} Started all the same: --force")


def effective_settings(trainer: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The values in force after building: the trainer's own attribute where it copies one, else its arguments.

    TRL copies `temperature`, `beta`, `num_generations` and others at build; those copies are what acts.
    """
    args = trainer.args
    return {name: plain(getattr(trainer, name, getattr(args, name, None))) for name in fields}


def effective_model_settings(trainer: Any) -> dict[str, Any]:
    """What the adapter and its base really are, under the names of the flags that ask for it."""
    lora = trainer.model.peft_config["default"]
    targets = lora.target_modules
    return {
        "lora_rank": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": targets if isinstance(targets, str) else sorted(targets),
        "load_in_4bit": count_4bit(trainer.model) > 0,
        "use_vllm": bool(trainer.args.use_vllm),
    }


def differences(settings: GrpoSettings, run: Run) -> list[Difference]:
    """Compare what was asked for with what is in effect, setting by setting: by the user, or by us of GRPOConfig.

    Of a mapping the keys that were asked for are compared, since TRL adds its own; another spelling of the same value
    (`none` and `[]`) and torch's fused kernel of the same optimizer are no difference.
    """
    recorded = run.read("settings.json")
    effective = recorded.get("effective", {})
    by_user: dict[str, Any] = {**vars(settings.rollout), **vars(settings.optim), **vars(settings.model)}
    by_user |= settings.grpo | {"target_modules": sorted(linear_targets(settings))}
    del by_user["gradient_checkpointing"]  # how, for us; whether, for TRL
    asked = recorded.get("grpo_config", {}) | {n: plain(value) for n, value in by_user.items() if value is not None}
    compared = (
        pair
        for name, value in asked.items()
        if value is not None and name in effective
        for pair in _pairs(name, value, effective[name])
    )
    return [pair for pair in compared if not _same(pair.requested, pair.effective)]


def _pairs(name: str, requested: Any, effective: Any) -> list[Difference]:
    """One pair, or one a key where both are mappings."""
    if isinstance(requested, dict) and isinstance(effective, dict):
        return [Difference(f"{name}.{key}", value, effective.get(key)) for key, value in requested.items()]
    return [Difference(name, requested, effective)]


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


def batch_of(trainer: Any) -> Batch:
    """The batch in effect, which Unsloth may have raised."""
    args = trainer.args
    return Batch(
        trainer.num_generations,
        args.per_device_train_batch_size,
        args.gradient_accumulation_steps,
        args.steps_per_generation,
        args.world_size,
    )
