"""The only place that fills GRPOConfig and builds GRPOTrainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.backends.base import Backend, Policy, count_4bit
from toolkit.compat.trl import train_in_float32
from toolkit.data.schema import Row
from toolkit.errors import DataError, SettingsError
from toolkit.machine import processes
from toolkit.runs import Run
from toolkit.runs.names import SETTINGS
from toolkit.settings import GrpoSettings
from toolkit.settings.batch import Batch
from toolkit.settings.resolved import Resolved
from toolkit.settings.trackers import trackers
from toolkit.training import trackers as of_trackers
from toolkit.training.engine_defaults import EngineDefault, arguments_of_trl, engine_defaults, plain
from toolkit.training.rewards import Reward, distinct, guarded

CACHE_ON_A_CPU = {"num_blocks": 64, "max_batch_tokens": 512}
"""Continuous batching would reserve half of the free memory: 26 s a round for the embedded model, not 1.4."""


@dataclass(frozen=True)
class Assembly:
    """A trainer that is ready to train, with what it was asked for and what is in effect."""

    trainer: Any
    """TRL's GRPOTrainer, or what Unsloth made of it."""
    resolved: Resolved[Any]
    asked: dict[str, Any]
    """What GRPOConfig was given, as JSON can say it."""
    effective: dict[str, Any]
    """The same fields as they act, and the model settings as they came out."""
    engine_defaults: list[EngineDefault]
    """What else the engine set otherwise than TRL would."""

    @property
    def batch(self) -> Batch:
        """The batch in effect, which Unsloth may have raised."""
        trainer, args = self.trainer, self.trainer.args
        return Batch(
            trainer.num_generations,
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            args.steps_per_generation,
            args.world_size,
        )

    @property
    def steps_per_round(self) -> int:
        """Optimizer steps after which a checkpoint can resume; see `Batch.steps_per_round`."""
        return self.batch.steps_per_round(self.trainer.args.num_iterations)


def config_fields(
    resolved: Resolved[Any], rewards: Sequence[Reward], run: Run, device_fields: dict[str, Any]
) -> dict[str, Any]:
    """Every GRPOConfig field that this project sets; `--grpo.*` wins over the rest."""
    settings, batch = resolved.settings, resolved.batch
    rollout, optim, on_gpu = settings.rollout, settings.optim, not device_fields["use_cpu"]
    fields: dict[str, Any] = {
        "output_dir": str(run.checkpoints),
        "seed": settings.record.seed,
        "max_steps": optim.max_steps,
        "learning_rate": optim.learning_rate,
        "lr_scheduler_type": optim.lr_scheduler_type,
        "warmup_steps": optim.warmup_steps,
        "optim": optim.optim if on_gpu or not optim.optim.endswith("8bit") else "adamw_torch",  # 8 bit wants a GPU
        "beta": optim.beta,
        "num_generations": batch.num_generations,
        "max_completion_length": rollout.max_completion_length,
        "temperature": rollout.temperature,
        "per_device_train_batch_size": batch.per_device_train_batch_size,
        "gradient_accumulation_steps": batch.gradient_accumulation_steps,
        "steps_per_generation": batch.steps_per_generation,
        "reward_weights": [reward.weight for reward in rewards],
        "logging_steps": 1,  # TRL averages over the steps in between, and loses them at a kill
        "save_strategy": "steps",
        "save_steps": settings.record.save_steps,
        "save_total_limit": 2,  # one being written, one to fall back on
        "disable_tqdm": True,  # our own view shows progress
    }
    if settings.grpo.get("use_transformers_continuous_batching") and not on_gpu:
        fields["transformers_continuous_batching_config"] = CACHE_ON_A_CPU
    if processes.world_size() > 1:
        fields["ddp_find_unused_parameters"] = False  # every adapter weight is used; to look for others costs a pass
    fields |= of_trackers.fields(trackers(settings.record.report_to), run.folder)
    return fields | device_fields | settings.grpo


def build_trainer(
    policy: Policy,
    rows: Sequence[Row],
    rewards: Sequence[Reward],
    resolved: Resolved[Any],
    run: Run,
    backend: Backend,
) -> Assembly:
    """Build TRL's GRPOTrainer (or what Unsloth made of it) for a policy.

    Writes to the run's settings.json what GRPOConfig was given, what is in effect, and what else the engine set
    otherwise than TRL. The policy's model becomes the trainer's, adapter included.

    Raises:
        DataError: fewer rows than one round of rollouts needs, which TRL would turn into an empty epoch.
        SettingsError: TRL refuses a combination of fields; its own message is passed on.
    """
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback

    # From the package itself: that is where Unsloth puts its own two. TRL's lazy module hides them from pyright.
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportPrivateImportUsage]

    settings: GrpoSettings = resolved.settings
    of_device = backend.grpo_fields(settings.model, policy, settings.lengths, settings.rollout.temperature)
    fields = config_fields(resolved, rewards, run, of_device)
    needed = resolved.batch.prompts_per_generation
    if len(rows) < needed:
        raise DataError(
            f"{len(rows)} training rows", f"at least {needed}, the prompts of one round", "use a smaller batch"
        )
    try:
        of_trl = arguments_of_trl(GRPOConfig, fields)
        trainer = GRPOTrainer(
            model=policy.model,
            reward_funcs=[guarded(reward.function) for reward in distinct(rewards)],
            args=GRPOConfig(**fields),
            train_dataset=Dataset.from_list(with_equal_columns(rows)),
            processing_class=policy.tokenizer,
            peft_config=policy.peft_config,
        )
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        found = f"TRL refuses the settings: {str(error).strip()}"
        raise SettingsError(found, next_step="change the named field") from error
    train_in_float32(trainer)
    trainer.remove_callback(PrinterCallback)
    of_trackers.write_to(trainer, run.folder)
    policy.model, policy.peft_config = trainer.model, None
    assembly = Assembly(
        trainer,
        resolved,
        asked={name: plain(value) for name, value in fields.items()},
        effective=effective_settings(trainer, fields) | effective_model_settings(trainer),
        engine_defaults=engine_defaults(of_trl, trainer.args, fields),
    )
    defaults = [asdict(default) for default in assembly.engine_defaults]
    run.update(SETTINGS, grpo_config=assembly.asked, effective=assembly.effective, engine_defaults=defaults)
    return assembly


def with_equal_columns(rows: Sequence[Row]) -> list[Row]:
    """The rows with None for each column that another row has: `datasets` takes its columns from the first row."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


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
