"""GRPO as the documentation of TRL or of Unsloth shows it, with a recipe's settings.

What this project's own assembly is measured against: the same model, rows, rewards, seed and settings, and nothing of
`toolkit.training`, of its backends or of the environment that they set. A callback clocks the steps. The scripts:
https://huggingface.co/docs/trl/grpo_trainer and https://docs.unsloth.ai/get-started/reinforcement-learning-rl-guide
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit import data, models
from toolkit.backends.unsloth import CHECKPOINTING
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


@dataclass(frozen=True)
class Loaded:
    """What a script loads before it builds the trainer."""

    model: Any
    tokenizer: Any
    peft_config: Any = None
    """None where the model has its adapter already."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Of GRPOConfig, by how the model was loaded."""


def run(engine: str, recipe: str, argv: Sequence[str], folder: Path) -> None:
    """Train by the recipe's settings and rewards; leaves metrics.jsonl and summary.json in `folder`.

    `engine`: `trl`, or `unsloth`, which must be installed.
    """
    if engine == "unsloth":
        import unsloth  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport] # first; an extra
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
    gpu = gpus[0] if gpus else None
    if gpu is None:
        install_cpu_logprobs()  # without it TRL 1.15 trains on no CPU
    else:
        smaller_card.apply(gpu)
    trainer = _trainer(settings, LOADERS[engine](settings, gpu), problems.train, rewards, gpu, folder)
    began = time.perf_counter()
    trainer.train()
    write_json(folder / SUMMARY, {TRAIN_S: time.perf_counter() - began})


def _load_plain(settings: GrpoSettings, gpu: Gpu | None) -> Loaded:
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    model = settings.model
    dtype = torch.bfloat16 if gpu is not None and gpu.has_bf16 else torch.float32
    source = models.locate(model.model)
    base = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=dtype,
        device_map={"": 0 if gpu else "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
        if model.load_in_4bit
        else None,
        attn_implementation=model.attn_implementation,
    )
    adapter = LoraConfig(
        r=model.lora_rank,
        lora_alpha=model.lora_alpha,
        lora_dropout=model.lora_dropout,
        target_modules=list(model.target_modules),
        task_type="CAUSAL_LM",
    )
    fields = {"gradient_checkpointing": model.gradient_checkpointing != "none"}
    return Loaded(base, AutoTokenizer.from_pretrained(source, padding_side="left"), adapter, fields)


def _load_unsloth(settings: GrpoSettings, gpu: Gpu | None) -> Loaded:
    import torch
    from unsloth import FastLanguageModel  # pyright: ignore[reportMissingImports] # an extra

    model = settings.model
    of_vllm = {
        "fast_inference": True,
        "max_lora_rank": model.lora_rank,
        "gpu_memory_utilization": model.gpu_memory_utilization,
    }
    rolls_out = gpu is not None and bool(model.use_vllm)
    base, tokenizer = FastLanguageModel.from_pretrained(
        model_name=models.locate(model.model),
        max_seq_length=settings.lengths.total,
        dtype=None if gpu else torch.float32,
        load_in_4bit=model.load_in_4bit,
        **(of_vllm if rolls_out else {}),
    )
    adapted = FastLanguageModel.get_peft_model(
        base,
        r=model.lora_rank,
        lora_alpha=model.lora_alpha,
        lora_dropout=model.lora_dropout,
        target_modules=list(model.target_modules),
        use_gradient_checkpointing=CHECKPOINTING[model.gradient_checkpointing],
        random_state=settings.record.seed,
    )
    return Loaded(adapted, tokenizer, fields={"use_vllm": True} if rolls_out else {})


LOADERS: dict[str, Callable[[GrpoSettings, Gpu | None], Loaded]] = {"trl": _load_plain, "unsloth": _load_unsloth}


def _trainer(
    settings: GrpoSettings, loaded: Loaded, rows: list[Any], rewards: list[Reward], gpu: Gpu | None, folder: Path
) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportPrivateImportUsage] # TRL's lazy module

    rollout, optim = settings.rollout, settings.optim
    fields: dict[str, Any] = dict(
        output_dir=str(folder / "checkpoints"),
        seed=settings.record.seed,
        use_cpu=gpu is None,
        bf16=gpu is not None and gpu.has_bf16,
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
        reward_weights=[reward.weight for reward in rewards],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        **loaded.fields,
        **settings.grpo,
    )
    arguments = GRPOConfig(**fields)
    trainer = GRPOTrainer(
        model=loaded.model,
        reward_funcs=[reward.function for reward in rewards],
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=loaded.peft_config,
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
