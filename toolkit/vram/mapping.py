"""A run's settings beside the planner's request: one table of what both say, read in either direction.

The settings are the recipes' own and have the engines' names; a request has what memory depends on. From the table come
the request of a run, the settings of a plan, the flags that lead from one plan to another, and the check that a
measured run ran as it was planned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from toolkit.settings import ALL_LINEAR, GrpoSettings, ModelSettings, flatten
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape, parse_targets

OPTIMIZERS = {
    "adamw_8bit": "adamw_8bit",
    "adamw_bnb_8bit": "adamw_8bit",  # transformers has two names for it
    "paged_adamw_8bit": "paged_adamw_8bit",
}
LARGEST_OPTIMIZER = "adamw_torch"  # what one that the planner does not know counts as


@dataclass(frozen=True)
class Row:
    """One decision under its two names, and how its value is said on each side."""

    setting: str
    """A recipe's setting."""
    field: str
    """Of `Request`."""
    planned: Callable[[Any], Any] = lambda value: value
    """The setting's value as the field has it."""
    said: Callable[[Any], Any] = lambda value: value
    """The field's value as the setting has it."""
    left_out: Any = None
    """What a preset need not say, because a recipe does so anyway."""
    is_recorded: bool = False
    """A finished run's settings.json has the value in effect under `setting`."""


def _alike(name: str, *, is_recorded: bool = False) -> Row:
    """The same name and the same values on both sides."""
    return Row(name, name, is_recorded=is_recorded)


# In the order of the recipes' settings
ROWS = (
    _alike("model"),
    Row(
        "backend",
        "framework",
        planned=lambda backend: "trl" if backend == "transformers" else "unsloth",
        said=lambda framework: "transformers" if framework == "trl" else "unsloth",
    ),
    Row(
        "load_in_4bit",
        "method",
        planned=lambda in_4bit: "qlora" if in_4bit else "lora",
        said=lambda method: method == "qlora",
        is_recorded=True,
    ),
    _alike("lora_rank", is_recorded=True),
    Row("target_modules", "lora_targets", ",".join, lambda targets: targets.split(","), left_out=list(ALL_LINEAR)),
    _alike("gradient_checkpointing"),
    Row(
        "attn_implementation",
        "attention",
        planned=lambda kernel: {None: "sdpa", "flash_attention_2": "flash"}.get(kernel, kernel),
        said=lambda kernel: {"sdpa": None, "flash": "flash_attention_2"}.get(kernel, kernel),
    ),
    Row(
        "use_vllm",
        "generation",
        planned=lambda use_vllm: "hf" if use_vllm is False else "vllm",
        said=lambda generation: generation == "vllm",
        left_out=True,
        is_recorded=True,
    ),
    _alike("gpu_memory_utilization"),
    _alike("standby"),
    _alike("max_prompt_length"),
    _alike("num_generations", is_recorded=True),
    _alike("max_completion_length", is_recorded=True),
    _alike("per_device_train_batch_size", is_recorded=True),
    _alike("gradient_accumulation_steps", is_recorded=True),
    _alike("steps_per_generation", is_recorded=True),
    Row("optim", "optim", planned=lambda optim: OPTIMIZERS.get(optim, LARGEST_OPTIMIZER)),
    _alike("beta", is_recorded=True),
)


def request_of(
    settings: GrpoSettings, *, has_bf16: bool, framework: Literal["unsloth", "trl"], has_vllm: bool
) -> Request:
    """What the planner is asked about a recipe's settings, on a machine whose card and engines decide the rest."""
    given = flatten(settings)
    asked = Request(**{row.field: row.planned(given[row.setting]) for row in ROWS})
    generation = asked.generation if has_vllm else "hf"
    offloads_without_unsloth = framework == "trl" and asked.gradient_checkpointing == "unsloth"
    return replace(
        asked,
        framework=framework,
        dtype="bf16" if has_bf16 else "fp16",
        generation=generation,
        standby=asked.standby and generation == "vllm",
        gradient_checkpointing="hf" if offloads_without_unsloth else asked.gradient_checkpointing,
    )


def settings_of(request: Request, shape: Shape) -> dict[str, Any]:
    """The recipes' settings that a request decides, under their names; the rest keeps the recipe's defaults."""
    full = replace(
        request,
        model=_loaded_as(request, shape),
        lora_targets=",".join(parse_targets(request.lora_targets, shape)),
        gradient_checkpointing=request.gradient_checkpointing or request.checkpointing,
    )
    said = {row.setting: row.said(getattr(full, row.field)) for row in ROWS}
    kept = {row.setting for row in ROWS if said[row.setting] not in (None, row.left_out)}
    said["lora_alpha"] = scaled_alpha(ModelSettings(), request.lora_rank)
    return {name: said[name] for name in flatten(GrpoSettings()) if name in kept | {"lora_alpha"}}


def flags_between(before: Request, after: Request, model: ModelSettings, unsaid: Set[str]) -> Iterator[str]:
    """What leads from one request to another, in the recipes' flags. `unsaid` are fields that need no flag."""
    for row in ROWS:
        value = getattr(after, row.field)
        if value == getattr(before, row.field) or row.field in unsaid:
            continue
        said = row.said(value)
        yield f"--{row.setting} {str(said).lower() if isinstance(said, bool) else said}"
        if row.field == "lora_rank":
            yield f"--lora_alpha {scaled_alpha(model, value)}"


def scaled_alpha(model: ModelSettings, rank: int) -> int:
    """The lora_alpha with which another rank keeps the scale of the update, lora_alpha / lora_rank; at least 1."""
    return max(1, model.lora_alpha * rank // model.lora_rank)


def ran_otherwise(request: Request, effective: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """(setting, value in effect, planned value) of the first that differs; None for a run as it was planned."""
    full = replace(request, steps_per_generation=request.batch.steps_per_generation)
    for row in ROWS:
        planned = row.said(getattr(full, row.field))
        if row.is_recorded and row.setting in effective and effective[row.setting] != planned:
            return row.setting, effective[row.setting], planned
    return None


def lost(asked: Request, back: Request, shape: Shape) -> str | None:
    """The first field that the recipes' settings cannot say, so that it came `back` changed; None when none did.

    What they need not say is left out, such as which 16-bit type: a run takes the one that its card has, and both are
    equally large.
    """
    need_not = ("model", "gpu", "max_seq_length")
    one, other = (_in_force(request, shape) for request in (asked, back))
    names = (f.name for f in fields(Request) if f.name not in need_not)
    return next((name for name in names if getattr(one, name) != getattr(other, name)), None)


def _in_force(request: Request, shape: Shape) -> Request:
    """The request with its defaults filled in, and one spelling where there are several."""
    return replace(
        request,
        lora_targets=",".join(parse_targets(request.lora_targets, shape)),
        gradient_checkpointing=request.checkpointing,
        loss_head=request.head,
        dtype="fp32" if request.dtype == "fp32" else "bf16",
    )


def _loaded_as(request: Request, shape: Shape) -> str:
    """What the recipes load the model by: a folder's path, or the Hub id as far as it was given with its owner."""
    path = os.path.expanduser(request.model)
    if os.path.isfile(path):
        return os.path.dirname(os.path.abspath(path))
    return request.model if os.path.isdir(path) or "/" in request.model else shape.name
