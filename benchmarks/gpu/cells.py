"""What is measured: one cell is one process with one model, one engine and one setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from toolkit.backends.base import dtype_name
from toolkit.machine.devices import Gpu
from toolkit.models.random import Dtype
from toolkit.settings import (
    DataSettings,
    GrpoSettings,
    ModelSettings,
    OptimSettings,
    RecordSettings,
    RolloutSettings,
)
from toolkit.vram.catalog import find
from toolkit.vram.configs import from_config
from toolkit.vram.shapes import Shape

Engine = Literal["unsloth", "transformers"]
Checkpointing = Literal["none", "hf", "unsloth"]
Rollouts = Literal["given", "generate", "vllm"]

ENGINES: tuple[Engine, Engine] = ("unsloth", "transformers")
TINY = "tiny"
TINY_CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
}
FRAMEWORKS: dict[Engine, Literal["unsloth", "trl"]] = {"unsloth": "unsloth", "transformers": "trl"}
"""Engine -> the planner's name for it."""
CHECKPOINTING: dict[Engine, Checkpointing] = {"unsloth": "unsloth", "transformers": "hf"}
"""Engine -> its own way to recompute."""
EMULATED = {"12 GB": "RTX 3060 12GB", "16 GB": "RTX 4080 SUPER", "24 GB": "RTX 4090"}
"""Label -> the card of toolkit/vram/cards.json that stands for it."""
LEARNING_RATE = 1e-4  # a bfloat16 adapter weight of 0.02 is moved by no step below 4e-5


@dataclass(frozen=True)
class Cell:
    """One measurement. Its settings have the names of the recipes' flags where they mean the same."""

    name: str
    kind: Literal["numerics", "load", "update"]
    size: str
    """Of Qwen2.5-Instruct, or `tiny`."""
    engine: Engine
    load_in_4bit: bool = True
    from_4bit: bool = True
    """The checkpoint on disk is in NF4; False is in 16 bit, which loading in 4 bit then quantises."""
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    max_prompt_length: int = 512
    max_completion_length: int = 1024
    gradient_checkpointing: Checkpointing = "hf"
    lora_rank: int = 32
    optim: str = "adamw_8bit"
    rollouts: Rollouts = "given"
    """`given`: random completions of exact length, so that the update alone is measured; `generate`: transformers'
    with min_new_tokens; `vllm`: with ignore_eos."""
    equal_lengths: bool = False
    """All completions equally long: no mask, and SDPA takes its flash kernel. Otherwise every second one is shorter."""
    n_steps: int = 3
    n_decoded: int = 0
    """Tokens a sequence that `generate` makes after the update, timed."""
    emulates: str = ""
    """A card, as `toolkit plan --gpu` takes it, whose usable memory is emulated; empty: the card as it is."""
    expected: Literal["", "runs", "out_of_memory"] = ""
    """What the planner says, for an emulated card."""

    @property
    def num_generations(self) -> int:
        return max(2, self.per_device_train_batch_size)

    @property
    def checkpoint(self) -> tuple[str, bool]:
        """What is loaded: the size, and whether its file is in 4 bit."""
        return self.size, self.load_in_4bit and self.from_4bit

    @property
    def checkpoints(self) -> list[tuple[str, bool]]:
        """Every checkpoint that is needed."""
        compares = self.kind == "numerics" and self.engine == "transformers"
        return [(self.size, False), self.checkpoint] if compares else [self.checkpoint]

    def settings(self, model: str) -> GrpoSettings:
        """The recipe settings of this cell; `model` is a folder to load from or a name to plan for."""
        ignored = {
            "vllm": {"ignore_eos": True},
            "generate": {"min_new_tokens": self.max_completion_length},
            "given": {},
        }
        return GrpoSettings(
            model=ModelSettings(
                model=model,
                backend=self.engine,
                load_in_4bit=self.load_in_4bit,
                lora_rank=self.lora_rank,
                lora_alpha=2 * self.lora_rank,
                gradient_checkpointing=self.gradient_checkpointing,
                use_vllm=self.rollouts == "vllm",
                gpu_memory_utilization=0.3,
                standby=False,
            ),
            data=DataSettings(max_prompt_length=self.max_prompt_length),
            rollout=RolloutSettings(
                num_generations=self.num_generations,
                max_completion_length=self.max_completion_length,
                per_device_train_batch_size=self.per_device_train_batch_size,
                gradient_accumulation_steps=self.gradient_accumulation_steps,
                parity="auto" if self.rollouts == "vllm" else "off",  # it samples, which would be seen in the peaks
            ),
            optim=OptimSettings(
                max_steps=self.n_steps,
                warmup_steps=0,
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                optim=self.optim,
            ),
            # force: completions are random, so that the reward of them cannot be right about anything
            record=RecordSettings(seed=0, save_steps=10**6, force=True),
            grpo={"save_strategy": "no", "generation_kwargs": ignored[self.rollouts] or None},
        )


def shape_of(size: str) -> Shape:
    """The shape of `tiny`, or of Qwen2.5-Instruct in this size."""
    if size == TINY:
        return from_config(TINY_CONFIG, f"{TINY} Qwen2.5")
    return find(f"Qwen/Qwen2.5-{size}-Instruct")


def checkpoint_dtype(gpu: Gpu | None) -> Dtype:
    """What a checkpoint's weights are in: the type that the backends compute in."""
    names: dict[str, Dtype] = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
    return names[dtype_name(gpu)]


def folder_of(models: Path, size: str, in_4bit: bool) -> Path:
    """Where a random checkpoint lies."""
    return models / f"{size}-{'nf4' if in_4bit else '16bit'}"


def on_a_card() -> list[Cell]:
    """The cells for a CUDA card, the most telling first; the two of each emulated card are still without a length."""
    return [
        Cell("numerics 0.5B transformers", "numerics", "0.5B", "transformers"),
        *_sizes("7B"),
        *_emulated("12 GB", "unsloth"),
        Cell("numerics 0.5B unsloth", "numerics", "0.5B", "unsloth", gradient_checkpointing="unsloth"),
        *_sizes("3B"),
        *_emulated("24 GB", "unsloth"),
        *_emulated("12 GB", "transformers"),
        *_sizes("1.5B"),
        *_emulated("16 GB", "unsloth"),
        *_sizes("0.5B"),
        *_variants("unsloth"),
        *_variants("transformers"),
        Cell("16-bit 0.5B unsloth", "update", "0.5B", "unsloth", load_in_4bit=False, gradient_checkpointing="unsloth"),
        Cell("16-bit 0.5B transformers", "update", "0.5B", "transformers", load_in_4bit=False),
        _short("generate 1.5B transformers", "transformers", "generate"),
        _short("vllm 1.5B unsloth", "unsloth", "vllm"),
        Cell("quantise 0.5B transformers", "load", "0.5B", "transformers", from_4bit=False),
    ]


def on_a_cpu() -> list[Cell]:
    """The same kinds of cells with a tiny model: the code path, not the figures."""
    tiny = Cell("", "update", TINY, "transformers", max_prompt_length=64, max_completion_length=16, lora_rank=8)
    tiny = replace(tiny, per_device_train_batch_size=4, n_steps=2)
    return [
        replace(tiny, name="numerics tiny", kind="numerics"),
        *(replace(tiny, name=f"update tiny {engine}", engine=engine, n_decoded=8) for engine in ENGINES),
        replace(tiny, name="fits 12 GB tiny transformers", emulates=EMULATED["12 GB"], expected="runs"),
        replace(tiny, name="16-bit tiny transformers", load_in_4bit=False),
        replace(tiny, name="generate tiny transformers", rollouts="generate"),
        replace(tiny, name="vllm tiny transformers", rollouts="vllm", load_in_4bit=False),
        replace(tiny, name="quantise tiny transformers", kind="load", from_4bit=False),
    ]


def _sizes(size: str) -> Iterator[Cell]:
    """The same settings under both engines, each with its own way to recompute."""
    for engine in ENGINES:
        own = CHECKPOINTING[engine]
        yield Cell(f"update {size} {engine}", "update", size, engine, gradient_checkpointing=own, n_decoded=32)


def _emulated(label: str, engine: Engine) -> Iterator[Cell]:
    base = Cell("", "update", "7B", engine, gradient_checkpointing=CHECKPOINTING[engine], n_steps=2)
    base = replace(base, emulates=EMULATED[label])
    yield replace(base, name=f"fits {label} 7B {engine}", expected="runs")
    yield replace(base, name=f"over {label} 7B {engine}", expected="out_of_memory")


def _variants(engine: Engine) -> Iterator[Cell]:
    """Lengths, checkpointing modes, accumulation and equal lengths, around one cell."""
    own = CHECKPOINTING[engine]
    base = Cell("", "update", "1.5B", engine, gradient_checkpointing=own)
    yield replace(base, name=f"long 1.5B {engine}", max_completion_length=3584, per_device_train_batch_size=4)
    yield replace(base, name=f"short 1.5B {engine}", max_prompt_length=256, max_completion_length=256)
    kept = replace(base, name=f"no recompute 1.5B {engine}", gradient_checkpointing="none")
    yield replace(kept, per_device_train_batch_size=4)
    if engine == "unsloth":
        yield replace(base, name=f"hf checkpointing 1.5B {engine}", gradient_checkpointing="hf")
    yield replace(base, name=f"accumulated 1.5B {engine}", gradient_accumulation_steps=4)
    yield replace(base, name=f"equal lengths 1.5B {engine}", equal_lengths=True)


def _short(name: str, engine: Engine, rollouts: Rollouts) -> Cell:
    """A whole step, rollouts included."""
    base = Cell(name, "update", "1.5B", engine, gradient_checkpointing=CHECKPOINTING[engine], rollouts=rollouts)
    return replace(base, max_prompt_length=256, max_completion_length=128, n_steps=2)
