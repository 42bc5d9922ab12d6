"""Settings: frozen dataclasses that the command line and YAML files fill through tyro.

A recipe composes the groups below into one dataclass with flat flags (`--num_generations`, not
`--rollout.num_generations`). Settings that are TRL's, PEFT's, vLLM's or Unsloth's keep their names; every other
`GRPOConfig` field is reached as `--grpo.NAME`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from toolkit.errors import SettingsError, did_you_mean
from toolkit.settings.grpo_fields import names_of
from toolkit.settings.trackers import trackers

T = TypeVar("T")
Flat = Annotated[T, tyro.conf.OmitArgPrefixes]
"""A settings group whose flags carry no prefix."""

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ModelSettings:
    """Model: what is trained, by which engine"""

    model: str = "Qwen/Qwen2.5-3B-Instruct"
    """Hub id or folder of the base model; `embedded` is the tiny Qwen3 shipped with the toolkit."""
    backend: Literal["auto", "unsloth", "transformers"] = "auto"
    """Engine; `auto` takes unsloth on a CUDA device where it is installed, else transformers."""
    require_gpu: bool = False
    """Stop instead of falling back to the CPU when no CUDA device is usable."""
    load_in_4bit: bool = True
    """Keep the frozen base in 4-bit NF4 (QLoRA)."""
    lora_rank: int = 32
    """Rank r of the LoRA adapter."""
    lora_alpha: int = 64
    """LoRA scale: the update is multiplied by lora_alpha / lora_rank."""
    lora_dropout: float = 0.0
    """LoRA dropout, 0 to 1. It also acts during rollouts, so keep it 0 unless you know why."""
    target_modules: tuple[str, ...] = ALL_LINEAR
    """Names of the linear layers that get an adapter."""
    gradient_checkpointing: Literal["none", "hf", "unsloth"] = "unsloth"
    """Recompute activations in the backward pass: not, as transformers does, or offloaded as Unsloth does."""
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    """Attention kernel (transformers' names), by the transformers backend alone; None: the engine's own choice."""
    use_vllm: bool | None = None
    """Roll out with vLLM; None: yes on a CUDA device where it is installed."""
    vllm_mode: Literal["colocate", "server"] = "colocate"
    """vLLM in this process, or as a server on cards of its own: `toolkit serve --print` says how it is started."""
    gpu_memory_utilization: float = 0.6
    """Share of the card that vLLM may take, 0 to 1; the memory plan chooses it unless a flag or your own YAML does."""
    standby: bool = True
    """Free vLLM's KV cache during the update (Unsloth's standby; it sets its own utilisation)."""


@dataclass(frozen=True)
class DataSettings:
    """Data: what is asked"""

    dataset: str = "openai/gsm8k"
    """An id of the Hub, `arithmetic` (generated here), a .jsonl, .json, .csv or .parquet file, or a folder of them."""
    dataset_config: str | None = None
    """Configuration of a Hub dataset that has several."""
    dataset_train_split: str = "train"
    """Split of a Hub dataset to train on."""
    dataset_test_split: str = "test"
    """Split to measure on; where there is none, as in a file, rows are held out of the training split."""
    question_column: str = "question"
    """Column of the question. Where it is missing, `problem`, `prompt` and the like are taken (recipes/DATA.md)."""
    answer_column: str = "answer"
    """Column of the gold answer: bare, in a `\\boxed{}`, or GSM8K's text that ends in `#### 18`."""
    drop_bad_rows: bool = False
    """Go on without the rows that cannot be used, and say how many; else they stop the run."""
    max_prompt_length: int = 512
    """Longest prompt in tokens, chat template included; longer rows are dropped and counted."""
    n_eval: int = 256
    """Held-out problems measured before and after."""
    n_hidden: int = 0
    """More problems held back, from training and from measuring alike, for `toolkit eval --split hidden` in the end."""
    prompt_style: Literal["r1", "think", "boxed", "hash", "none"] = "r1"
    """How the answer is asked for: R1's tags, `<think>` as Qwen3 has it, `\\boxed{}`, `#### 18`, or not at all."""
    system_prompt: str | None = None
    """System message, as text or a file; it takes the place of the style's text, or takes it in at `{style}`."""
    examples: str | None = None
    """Solved examples as turns before each question: how many training rows to show, or a file of your own."""


@dataclass(frozen=True)
class RewardSettings:
    """Rewards: what is paid for"""

    reward: str | None = None
    """TARGET[:WEIGHT],... in place of the recipe's own: NAME, rubric:FILE, judge:FILE, FILE.py:FUNCTION or a URL."""
    pass_score: float | None = None
    """Score from which on a completion counts as right when measured; None: the reward's highest."""


@dataclass(frozen=True)
class RolloutSettings:
    """Rollout: how completions are sampled"""

    num_generations: int = 8
    """Completions a prompt (the group that a reward is compared in)."""
    max_completion_length: int = 1024
    """Longest completion in tokens; a truncated one cannot be right, so watch completions/clipped_ratio."""
    temperature: float = 1.0
    """Sampling temperature, above 0."""
    per_device_train_batch_size: int = 8
    """Completions in one forward pass of the update (TRL counts completions, not prompts)."""
    gradient_accumulation_steps: int = 4
    """Forward passes summed into one optimizer step."""
    steps_per_generation: int | None = None
    """Forward passes fed by one round of rollouts; None: gradient_accumulation_steps."""
    parity: Literal["auto", "on", "off"] = "auto"
    """Check that rollouts come from the weights in training, and stop if not; auto: unless it is plain `generate`."""
    parity_steps: int = 50
    """Optimizer steps between two such checks; 0: only before the first step."""


@dataclass(frozen=True)
class OptimSettings:
    """Optimisation"""

    max_steps: int = 250
    """Optimizer steps."""
    learning_rate: float = 5e-6
    """Peak learning rate."""
    lr_scheduler_type: str = "cosine"
    """Shape of the learning rate after warm-up (transformers' names)."""
    warmup_steps: int = 10
    """Steps of linear warm-up."""
    optim: str = "adamw_8bit"
    """Optimizer (transformers' names)."""
    beta: float = 0.0
    """Weight of the KL term against the base model; 0 computes no reference pass."""


@dataclass(frozen=True)
class RecordSettings:
    """Records: what is kept, and where"""

    seed: int = 0
    """Seed of adapter, data order and sampling."""
    output_dir: Path | None = None
    """Run folder to create; None: runs/<recipe>-<time>."""
    save_steps: int = 50
    """Optimizer steps between checkpoints."""
    save: Literal["adapter", "merged_16bit"] = "adapter"
    """What to save at the end: the LoRA adapter, or also the base with the adapter merged in, in 16 bit."""
    report: bool = True
    """Write report.html into the run folder at the end: curves, accuracy, completions before and after."""
    push_to_hub: str | None = None
    """Hub repository `owner/name` to upload the saved result to; private unless --public."""
    public: bool = False
    """Make the pushed repository public."""
    config: str | None = None
    """YAML file with settings, or the name of one in recipes/configs; flags win over it."""
    resume: Path | None = None
    """Run folder to continue; its settings are taken over."""
    force: bool = False
    """Start even when the memory plan says that the run does not fit, or a reward fails its check."""
    check_machine: bool = True
    """On a card, let what `toolkit doctor` finds wrong with card, driver and packages stop the run before it loads."""
    preflight: bool = True
    """Look before the first step: sample 32 completions, show two, judge their length, format and reward."""
    allow_truncation: bool = False
    """Start even when that finds more than 80 % of the completions truncated."""
    report_to: tuple[str, ...] = ("auto",)
    """Trackers by transformers' names (tensorboard, wandb, ...), `all` installed ones, `none`; auto: tensorboard."""
    debug: bool = False
    """Show the traceback of an error, and what the engines log."""


@dataclass(frozen=True)
class Lengths:
    """The longest prompt and completion, in tokens."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True)
class GrpoSettings:
    """Any other GRPOConfig field is set with --grpo.NAME VALUE (for example --grpo.loss_type dr_grpo)."""

    model: Flat[ModelSettings] = ModelSettings()
    data: Flat[DataSettings] = DataSettings()
    rewards: Flat[RewardSettings] = RewardSettings()
    rollout: Flat[RolloutSettings] = RolloutSettings()
    optim: Flat[OptimSettings] = OptimSettings()
    record: Flat[RecordSettings] = RecordSettings()
    grpo: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)
    """GRPOConfig fields given as --grpo.NAME, already of their declared type."""

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.data.max_prompt_length, self.rollout.max_completion_length)


def flatten(settings: Any) -> dict[str, Any]:
    """Turn nested settings groups into one flat mapping, in declaration order; `grpo` stays a mapping."""
    flat: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        if is_dataclass(value):
            flat.update(flatten(value))
        else:
            flat[f.name] = value
    return flat


def check(settings: GrpoSettings) -> None:
    """Raise SettingsError, with flag, value and range, for values that no run can use; before anything loads."""
    flat = flatten(settings)
    for name, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"--{name} is {value}", "a finite number")
    for name, high in _AT_MOST.items():
        if flat[name] > high:
            raise SettingsError(f"--{name} is {flat[name]}", f"at most {high}")
    for name, low in _AT_LEAST.items():
        if name in flat and flat[name] is not None and flat[name] < low:
            raise SettingsError(f"--{name} is {flat[name]}", f"at least {low}", f"for example --{name} {low}")
    for name, (low, high) in _BETWEEN.items():
        if name in flat and not low <= flat[name] <= high:
            raise SettingsError(f"--{name} is {flat[name]}", f"a value from {low} to {high}")
    for name in ("optim", "lr_scheduler_type"):
        if flat[name] not in (known := names_of(name)):
            hint = did_you_mean(flat[name], known) or f"one of {', '.join(known)}"
            raise SettingsError(f"--{name} is {flat[name]!r}", hint, "see transformers' TrainingArguments")
    for name in ("temperature", "learning_rate"):
        if not flat[name] > 0:
            raise SettingsError(f"--{name} is {flat[name]}", "a value above 0")
    trackers(settings.record.report_to)
    if flat["public"] and not flat["push_to_hub"]:
        raise SettingsError("--public without --push_to_hub", "a repository", "add --push_to_hub OWNER/NAME")


_AT_MOST = {
    "seed": 2**32 - 1,  # numpy's limit
    "per_device_train_batch_size": 2**16,
    "gradient_accumulation_steps": 2**16,
    "num_generations": 2**12,
}
_AT_LEAST = {
    "lora_rank": 1,
    "lora_alpha": 1,
    "max_prompt_length": 1,
    "n_eval": 1,
    "n_hidden": 0,
    "num_generations": 2,
    "max_completion_length": 1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": 1,
    "max_steps": 1,
    "warmup_steps": 0,
    "beta": 0,
    "seed": 0,
    "save_steps": 1,
    "parity_steps": 0,
}
_BETWEEN = {"gpu_memory_utilization": (0.05, 0.98), "lora_dropout": (0.0, 0.9)}
