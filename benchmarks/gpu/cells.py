"""What is measured: one cell is one process with one model, one engine and one setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from toolkit.launch.presets import CARD_PRESETS
from toolkit.machine.devices import Gpu
from toolkit.settings import (
    DataSettings,
    GrpoSettings,
    ModelSettings,
    OptimSettings,
    RecordSettings,
    RolloutSettings,
)
from toolkit.settings.parse import parse, read_yaml
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
CONFIGS = Path(__file__).parents[2] / "recipes" / "configs"
STARTS_VLLM_S = 300.0  # load, torch.compile and CUDA graphs: a minute or two where nothing is cached, and to spare
LEARNING_RATE = 1e-4  # a bfloat16 adapter weight of 0.02 is moved by no step below 4e-5


@dataclass(frozen=True)
class Cell:
    """One measurement. Its settings have the names of the recipes' flags where they mean the same."""

    name: str
    kind: Literal["flagship", "numerics", "load", "update"]
    size: str
    """Of Qwen2.5-Instruct, or `tiny`."""
    engine: Engine
    load_in_4bit: bool = True
    from_4bit: bool = True
    """The checkpoint on disk is in NF4; False is in 16 bit, which loading in 4 bit then quantises."""
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    num_generations: int | None = None
    """None: as many as a pass has sequences, and 2 at least."""
    max_prompt_length: int = 512
    max_completion_length: int = 1024
    gradient_checkpointing: Checkpointing = "hf"
    lora_rank: int = 32
    optim: str = "adamw_8bit"
    rollouts: Rollouts = "given"
    """`given`: random completions of exact length, so that the update alone is measured; `generate`: transformers'
    with min_new_tokens; `vllm`: with ignore_eos."""
    standby: bool = False
    """vLLM sleeps during the update."""
    gpu_memory_utilization: float = 0.3
    """vLLM's share of the card; of a cell that rolls out with it, what a run's plan chooses."""
    equal_lengths: bool = False
    """All completions equally long: no mask, and SDPA takes its flash kernel. Otherwise every second one is shorter."""
    n_steps: int = 3
    n_decoded: int = 0
    """Tokens a sequence that `generate` makes after the update, timed."""
    emulates: str = ""
    """A card, as `toolkit plan --gpu` takes it, whose usable memory is emulated; empty: the card as it is."""
    expected: Literal["", "runs", "out_of_memory"] = ""
    """What the planner says, for an emulated card."""
    limit_s: float | None = None
    """Seconds for this cell, where it needs more than the others: starting vLLM compiles."""
    stands_in_for: str = ""
    """A cell without which this one has nothing to add; it runs where that one did not."""

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
                gpu_memory_utilization=self.gpu_memory_utilization,
                standby=self.standby,
            ),
            data=DataSettings(max_prompt_length=self.max_prompt_length),
            rollout=RolloutSettings(
                num_generations=self.num_generations or max(2, self.per_device_train_batch_size),
                max_completion_length=self.max_completion_length,
                per_device_train_batch_size=self.per_device_train_batch_size,
                gradient_accumulation_steps=self.gradient_accumulation_steps,
                # It samples, which would be seen in the peaks; the flagship has a step of its own for it
                parity="auto" if self.rollouts == "vllm" and self.kind != "flagship" else "off",
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


def folder_of(models: Path, size: str, in_4bit: bool) -> Path:
    """Where a random checkpoint lies."""
    return models / f"{size}-{'nf4' if in_4bit else '16bit'}"


def flagship(size: str, *, standby: bool = True) -> Cell:
    """The path that the recipes are made for: Unsloth, 4 bit, vLLM in the process that trains."""
    name = f"flagship {size} unsloth" if standby else f"flagship without standby {size} unsloth"
    base = Cell(name, "flagship", size, "unsloth", gradient_checkpointing="unsloth", rollouts="vllm", standby=standby)
    short = replace(base, max_prompt_length=256, max_completion_length=128, n_steps=2, n_decoded=32)
    return replace(short, limit_s=STARTS_VLLM_S, stands_in_for="" if standby else flagship(size).name)


def preset(name: str) -> Cell:
    """Whole steps, rollouts included, with the settings of a shipped preset."""
    settings = parse(GrpoSettings, [], [(name, read_yaml(CONFIGS / f"{name}.yaml"))])
    model, rollout = settings.model, settings.rollout
    size = model.model.removeprefix("Qwen/Qwen2.5-").removesuffix("-Instruct")
    return Cell(
        f"preset {size} {name}",
        "update",
        size,
        "unsloth",
        load_in_4bit=model.load_in_4bit,
        per_device_train_batch_size=rollout.per_device_train_batch_size,
        gradient_accumulation_steps=rollout.gradient_accumulation_steps,
        num_generations=rollout.num_generations,
        max_prompt_length=settings.data.max_prompt_length,
        max_completion_length=rollout.max_completion_length,
        gradient_checkpointing=model.gradient_checkpointing,
        lora_rank=model.lora_rank,
        optim=settings.optim.optim,
        rollouts="vllm",
        standby=model.standby,
        n_steps=2,
        limit_s=STARTS_VLLM_S,
    )


def on_a_card(gpu: Gpu | None = None) -> list[Cell]:
    """The cells for a CUDA card, the most telling first; the two of each emulated card are still without a length.

    Of the presets it is the one that this card gets; all for None.
    """
    own = [name for floor, name in CARD_PRESETS if gpu is None or gpu.total_gib >= floor]
    return [
        flagship("1.5B"),
        flagship("1.5B", standby=False),
        *(preset(name) for name in own[: 1 if gpu else None]),
        *_sizes("7B"),
        *_emulated("12 GB", "unsloth"),
        Cell("numerics 0.5B unsloth", "numerics", "0.5B", "unsloth", gradient_checkpointing="unsloth"),
        Cell("numerics 0.5B transformers", "numerics", "0.5B", "transformers"),
        *_sizes("3B"),
        *_emulated("24 GB", "unsloth"),
        *_sizes("1.5B"),
        *_emulated("12 GB", "transformers"),
        *_emulated("16 GB", "unsloth"),
        *_sizes("0.5B"),
        *_variants("unsloth"),
        *_variants("transformers"),
        Cell("16-bit 0.5B unsloth", "update", "0.5B", "unsloth", load_in_4bit=False, gradient_checkpointing="unsloth"),
        Cell("16-bit 0.5B transformers", "update", "0.5B", "transformers", load_in_4bit=False),
        _generated("generate 1.5B transformers", "transformers"),
        Cell("quantise 0.5B transformers", "load", "0.5B", "transformers", from_4bit=False),
    ]


def on_a_cpu() -> list[Cell]:
    """The same kinds of cells with a tiny model: the code path, not the figures."""
    tiny = Cell("", "update", TINY, "transformers", max_prompt_length=64, max_completion_length=16, lora_rank=8)
    tiny = replace(tiny, per_device_train_batch_size=4, n_steps=2)
    whole = replace(tiny, kind="flagship", rollouts="generate", load_in_4bit=False, n_decoded=8)
    return [
        replace(whole, name="flagship tiny transformers"),
        replace(whole, name="flagship without standby tiny", stands_in_for="flagship tiny transformers"),
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


def _generated(name: str, engine: Engine) -> Cell:
    """A whole step, with rollouts by transformers."""
    base = Cell(name, "update", "1.5B", engine, gradient_checkpointing=CHECKPOINTING[engine], rollouts="generate")
    return replace(base, max_prompt_length=256, max_completion_length=128, n_steps=2)
