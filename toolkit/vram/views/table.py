"""`toolkit plan --table`: peaks over group size, length and checkpointing on one card, or lengths over all cards."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from toolkit.units import format_frac
from toolkit.vram.cards import Card, find_card
from toolkit.vram.plan import Plan, can_run, fit_of, make_plan, surely_fits
from toolkit.vram.request import Request
from toolkit.vram.search.growth import LENGTH_STEP, lengths, longest, longest_possible, with_num_generations, with_size
from toolkit.vram.shapes import Shape
from toolkit.vram.views.sheet import Cell, Panel, Sheet

# What people own or rent, one or two of each size: cheap cards of 12 and 16 GB, Colab's T4 and L4, the fastest of 24
# and 32 GB, and those for rent with 48 and 80. The usable memory of each was read from a log, not estimated.
COMMON_CARDS = (
    *("RTX 3060 12GB", "T4", "RTX 4060 Ti 16GB", "L4"),
    *("RTX 4090", "RTX 5090", "L40S", "A100 80GB"),
)
GENERATIONS = (4, 8, 16, 32)
BATCHES = (1, 2, 4, 8, 16)
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)


def over_lengths(request: Request, shape: Shape, card: Card) -> Sheet:
    """Peak GiB of the process on one card, over row sizes (`row_values`), lengths and kinds of checkpointing."""
    kinds = ("none", "hf") if request.framework == "trl" else ("none", "hf", "unsloth")
    rows, columns = row_values(request), length_values(request, shape)
    panels, records = [], []
    for kind in kinds:
        lines = []
        for row in rows:
            run = with_size(replace(request, gradient_checkpointing=kind), row_name(request), row)
            plans = [make_plan(run.with_length(column), shape, card) for column in columns]
            lines.append((f"{row:,}", tuple(_cell(plan) for plan in plans)))
            records += [_record(plan, shape, card) for plan in plans]
        panels.append(Panel(f"gradient_checkpointing {kind}", tuple(lines)))
    return Sheet(
        title=f"{shape.name} on {card.name}",
        measure=f"peak GiB of {card.usable_gib:g} usable",
        settings=describe(request),
        row_name=row_name(request),
        column_name=request.length_name,
        columns=tuple(f"{column:,}" for column in columns),
        panels=tuple(panels),
        shade="darker the fuller",
        notes=_batch_notes(request, rows),
        records=tuple(records),
        about=about(request, shape, card),
    )


def over_cards(request: Request, shape: Shape) -> Sheet:
    """The largest length that fits on each of the common cards, over row sizes; 0 in the records where none does."""
    rows, limit = row_values(request), lengths(request, shape)[-1]
    lines, records = [], []
    for card in map(find_card, COMMON_CARDS):
        runs = [with_size(request, row_name(request), row) for row in rows]
        found = [longest(run, shape, card) for run in runs]
        label = f"{card.name}, {card.usable_gib:.1f} GiB"
        lines.append((label, tuple(_length_cell(tokens, limit) for tokens in found)))
        for run, tokens in zip(runs, found, strict=True):
            sure = longest(run, shape, card, surely_fits)
            records.append({**_identity(run, shape, card), "longest": tokens or 0, "surely_fits": sure or 0})
    notes = (
        f"The plan's peak fits, in steps of {LENGTH_STEP} tokens up to the model's own limit of {limit:,}; "
        "where its interval must fit, too, see the JSON or CSV.",
    )
    return Sheet(
        title=shape.name,
        measure=f"largest {request.length_name} that fits, by card",
        settings=describe_all(request),
        row_name="card",
        column_name=row_name(request),
        columns=tuple(f"{row:,}" for row in rows),
        panels=(Panel("", tuple(lines)),),
        shade="darker the longer",
        notes=(*notes, *_batch_notes(request, rows)),
        records=tuple(records),
        about=about(request, shape, None),
    )


def row_name(request: Request) -> str:
    """What the rows count: completions a prompt, or in SFT sequences a pass."""
    return "per_device_train_batch_size" if request.task == "sft" else "num_generations"


def row_values(request: Request) -> list[int]:
    """The usual sizes and the one asked for."""
    usual = BATCHES if request.task == "sft" else GENERATIONS
    return sorted({*usual, getattr(request, row_name(request))})


def length_values(request: Request, shape: Shape) -> list[int]:
    """The usual lengths and the one asked for, within the model's positions."""
    limit = longest_possible(request, shape)
    return [tokens for tokens in sorted({*LENGTHS, request.length}) if tokens <= limit] or [limit]


def describe(request: Request) -> str:
    """What all cells have in common, on one line."""
    base = "all weights" if request.method == "full" else f"{request.method} of rank {request.lora_rank}"
    parts = [f"{request.task} with {request.framework}, {base}, {request.optim}, {request.dtype}"]
    if request.task == "grpo":
        parts.append(f"prompts of {request.max_prompt_length:,} tokens")
        parts.append(_engine(request) if request.generation == "vllm" else "generate() of transformers")
    return ", ".join([*parts, f"head {request.head}", f"attention {request.attention}"])


def describe_all(request: Request) -> str:
    """The same with checkpointing, where that is no axis of the table."""
    return f"{describe(request)}, gradient_checkpointing {request.gradient_checkpointing or request.checkpointing}"


def _engine(request: Request) -> str:
    if request.engine_sets_its_share:
        return "vLLM with standby"
    share = f"vLLM with {format_frac(request.gpu_memory_utilization)} of the card"
    return f"{share} and standby" if request.standby else share


def _batch_notes(request: Request, rows: list[int]) -> tuple[str, ...]:
    if request.task == "sft":
        return ()
    runs = [with_num_generations(request, row) for row in rows]
    sizes = ", ".join(f"{r.per_device_train_batch_size} for {r.num_generations}" for r in runs)
    n_prompts = request.batch.prompts_per_generation
    return (f"per_device_train_batch_size follows num_generations ({sizes}), at {n_prompts} prompts a round.",)


def _cell(plan: Plan) -> Cell:
    peak = plan.peak_process_gib
    usable = plan.card.usable_gib if plan.card else math.inf
    return Cell(f"{peak:.1f}" if peak < 100 else f"{peak:.0f}", min(1.0, peak / usable), fit_of(plan))


def _length_cell(tokens: int | None, limit: int) -> Cell:
    if tokens is None:
        return Cell("", 0.0, "too large")
    return Cell(f"{tokens:,}", math.log(tokens / LENGTH_STEP + 1) / math.log(limit / LENGTH_STEP + 1), "fits")


def _identity(run: Request, shape: Shape, card: Card) -> dict[str, Any]:
    found = {
        "model": shape.name,
        "gpu": card.name,
        "usable_gib": card.usable_gib,
        "gradient_checkpointing": run.gradient_checkpointing or run.checkpointing,
        "num_generations": run.num_generations,
        "per_device_train_batch_size": run.per_device_train_batch_size,
        "gradient_accumulation_steps": run.gradient_accumulation_steps,
        "steps_per_generation": run.batch.steps_per_generation,
    }
    without_effect = ("num_generations", "steps_per_generation") if run.task == "sft" else ()
    return {name: value for name, value in found.items() if name not in without_effect}


def _record(plan: Plan, shape: Shape, card: Card) -> dict[str, Any]:
    low, high = plan.interval_gib
    return {
        **_identity(plan.request, shape, card),
        plan.request.length_name: plan.request.length,
        "peak_process_gib": round(plan.peak_process_gib, 4),
        "low_gib": round(low, 4),
        "high_gib": round(high, 4),
        "fits": can_run(plan),
        "verdict": fit_of(plan),
    }


def about(request: Request, shape: Shape, card: Card | None) -> dict[str, Any]:
    """What was asked, for JSON: model, card, and the rest under the flags' names."""
    return {
        "model": {"name": shape.name, "parameters": shape.parameters()},
        "gpu": None if card is None else {"name": card.name, "usable_gib": card.usable_gib},
        "settings": {name: value for name, value in vars(request).items() if name not in ("model", "gpu")},
    }
