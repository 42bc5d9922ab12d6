"""GRPO as TRL's documentation shows it (https://huggingface.co/docs/trl/grpo_trainer), with a recipe's settings.

What this project's own assembly is measured against: the same model, rows, rewards, seed and settings, and nothing of
`toolkit.training`, of its backends or of the environment that they set. A callback clocks the steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolkit import data, models
from toolkit.bench import recipe as recipes
from toolkit.bench.measure import TRAIN_S
from toolkit.compat.trl import install_cpu_logprobs
from toolkit.data.examples import read_files
from toolkit.files import write_json
from toolkit.launch.presets import choose_presets, presets_of
from toolkit.machine import smaller_card
from toolkit.machine.devices import Gpu, find_gpus
from toolkit.machine.peaks import resident_peak_gib, torch_peaks_gib
from toolkit.machine.provenance import recorded
from toolkit.runs import metrics
from toolkit.runs.names import METRICS, SETTINGS, SUMMARY
from toolkit.settings import GrpoSettings
from toolkit.settings.parse import given_names, parse
from toolkit.training.engine_defaults import plain
from toolkit.training.phases import count_forward_passes
from toolkit.training.rewards import Reward, asked_for, distinct


def run(recipe: str, argv: Sequence[str], folder: Path) -> None:
    """Train by the recipe's settings and rewards; leaves metrics.jsonl and summary.json in `folder`."""
    module = recipes.load(Path(recipe))
    gpus, why_no_gpu = find_gpus()
    first, given = parse(module.Settings, argv), given_names(argv)
    presets, _ = choose_presets(first, given, gpus, why_no_gpu, presets_of(Path(recipe)))
    settings = parse(module.Settings, argv, presets)
    asked = settings.rewards.reward
    rewards = asked_for(asked) if asked else distinct(module.rewards(settings))
    needs = frozenset[str]().union(*(reward.columns for reward in rewards))
    problems = data.load(read_files(settings.data), settings.record.seed, needs=needs)
    folder.mkdir(parents=True)
    trainer = _trainer(settings, problems.train, rewards, gpus[0] if gpus else None, folder)
    began = time.perf_counter()
    trainer.train()
    write_json(folder / SUMMARY, {TRAIN_S: time.perf_counter() - began})


def _trainer(settings: GrpoSettings, rows: list[Any], rewards: list[Reward], gpu: Gpu | None, folder: Path) -> Any:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportPrivateImportUsage] # TRL's lazy module

    model, rollout, optim = settings.model, settings.rollout, settings.optim
    has_bf16 = gpu is not None and gpu.has_bf16
    dtype = torch.bfloat16 if has_bf16 else torch.float32
    source = models.locate(model.model)
    if gpu is None:
        install_cpu_logprobs()  # without it TRL 1.15 trains on no CPU
    else:
        smaller_card.apply(gpu)
    base = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=dtype,
        device_map={"": 0 if gpu else "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
        if model.load_in_4bit
        else None,
    )
    fields: dict[str, Any] = dict(
        output_dir=str(folder / "checkpoints"),
        seed=settings.record.seed,
        use_cpu=gpu is None,
        bf16=has_bf16,
        max_steps=optim.max_steps,
        learning_rate=optim.learning_rate,
        lr_scheduler_type=optim.lr_scheduler_type,
        warmup_steps=optim.warmup_steps,
        optim=optim.optim if gpu else "adamw_torch",
        beta=optim.beta,
        num_generations=rollout.num_generations,
        max_completion_length=rollout.max_completion_length,
        temperature=rollout.temperature,
        per_device_train_batch_size=rollout.per_device_train_batch_size,
        gradient_accumulation_steps=rollout.gradient_accumulation_steps,
        steps_per_generation=rollout.steps_per_generation,
        gradient_checkpointing=model.gradient_checkpointing != "none",
        reward_weights=[reward.weight for reward in rewards],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        **settings.grpo,
    )
    arguments = GRPOConfig(**fields)
    trainer = GRPOTrainer(
        model=base,
        reward_funcs=[reward.function for reward in rewards],
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(source, padding_side="left"),
        peft_config=LoraConfig(
            r=model.lora_rank,
            lora_alpha=model.lora_alpha,
            lora_dropout=model.lora_dropout,
            target_modules=list(model.target_modules),
            task_type="CAUSAL_LM",
        ),
    )
    effective = {name: plain(getattr(trainer.args, name)) for name in fields}
    write_json(folder / SETTINGS, {"requested": recorded(settings), "effective": effective})
    trainer.add_callback(_clock(folder / METRICS, count_forward_passes(trainer.model)))
    return trainer


def _clock(path: Path, n_passes: Callable[[], int]) -> Any:
    """A callback that writes each step's log with its seconds, forward passes and the peak of memory so far."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        began, n_before = 0.0, 0

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.began, self.n_before = time.perf_counter(), n_passes()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not logs or "train_runtime" in logs:
                return
            peaks = torch_peaks_gib()
            ours = {metrics.STEP: state.global_step, metrics.STEP_S: time.perf_counter() - self.began}
            ours[metrics.RESERVED_GIB] = peaks[1] if peaks else resident_peak_gib()
            ours[metrics.FORWARD_PASSES] = n_passes() - self.n_before
            if peaks:
                ours[metrics.ALLOCATED_GIB] = peaks[0]
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**logs, **ours}) + "\n")

    return Clock()
