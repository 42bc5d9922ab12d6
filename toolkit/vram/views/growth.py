"""`toolkit plan --fit`: how far each size of a run can grow on a card, alone and together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from toolkit.display.tables import Column, Table, number
from toolkit.errors import SettingsError
from toolkit.vram.cards import Card
from toolkit.vram.plan import Plan, fit_of, make_plan
from toolkit.vram.request import Request
from toolkit.vram.search.growth import Limit, at_sure_length, candidates, limit_of, not_dominated, sizes
from toolkit.vram.shapes import Shape
from toolkit.vram.views.fits import MEANINGS, STYLES
from toolkit.vram.views.table import about, describe_all

Pair = tuple[Plan, Plan | None]
"""The longest run that fits, and the longest that surely does."""
FITS = ("fits up to", "GiB", "surely up to", "GiB")


@dataclass(frozen=True)
class Growth:
    """How large a run can be."""

    asked: Plan
    card: Card
    limits: list[Limit]
    """Each size alone, the length first."""
    together: list[Pair]
    """All sizes together: no pair is beaten in all of them."""

    def best(self) -> Plan:
        """The longest run that surely fits, or else the longest that fits at all; a SettingsError where none does."""
        length = self.limits[0]
        plan = length.surely_fits or length.fits
        if plan is None:
            found = f"no {length.size.name} fits on {self.card.name} with the other settings as asked"
            nearest = f"toolkit plan --gpu {self.asked.request.gpu} names the nearest"
            raise SettingsError(found, "a run that fits for a preset", nearest)
        return plan

    def as_json(self) -> dict[str, Any]:
        """Sizes with their peaks in GiB; null where nothing fits."""
        return about(self.asked.request, self.asked.shape, self.card) | {
            "asked": _outcome(self.asked),
            "largest": {
                limit.size.name: {
                    "asked": limit.asked,
                    "fits": _outcome(limit.fits),
                    "surely_fits": _outcome(limit.surely_fits),
                }
                for limit in self.limits
            },
            "together": [{"fits": _outcome(plan), "surely_fits": _outcome(sure)} for plan, sure in self.together],
        }

    def render(self) -> RenderableType:
        """How the request fits, each size alone, and all of them together."""
        asked, (low, high) = self.asked, self.asked.interval_gib
        request, fit = asked.request, fit_of(asked)
        own = f"as asked: {asked.peak_process_gib:.1f} GiB ({low:.1f} to {high:.1f}), {MEANINGS[fit]}"
        lines: list[RenderableType] = [
            Text(f"{asked.shape.name} on {self.card.name}: {self.card.usable_gib:g} GiB usable", "bold"),
            Text(describe_all(request), "dim"),
            *("", Text(own, STYLES[fit]), ""),
            *(Text("largest, one at a time", "bold"), _limits_table(self.limits)),
        ]
        if request.task == "grpo":
            lines.append(Text("per_device_train_batch_size follows num_generations", "dim"))
        if self.together:
            sizes_beside = "batch" if request.task == "sft" else "group and batch"
            title = f"{request.length_name} by {sizes_beside}: no line is beaten in everything"
            lines += ["", Text(title, "bold"), _together_table(self.together)]
            lines += [Text(note, "dim") for note in _together_notes(request)]
        return Group(*lines)


def grow(request: Request, shape: Shape, card: Card) -> Growth:
    """Search every size alone, and all of them together. Some seconds."""
    limits = [limit_of(size, request, shape, card) for size in sizes(request, shape)]
    together = [(plan, at_sure_length(plan, card)) for plan in not_dominated(candidates(request, shape, card))]
    return Growth(make_plan(request, shape, card), card, limits, together)


def _limits_table(limits: list[Limit]) -> RichTable:
    table = Table([Column(""), *map(number, ("asked", *FITS))])
    for limit in limits:
        fields = [field for plan in (limit.fits, limit.surely_fits) for field in (_up_to(limit, plan), _peak(plan))]
        table.add(limit.size.name, f"{limit.asked:,}", *fields)
    return table.rich()


def _up_to(limit: Limit, plan: Plan | None) -> str:
    if plan is None:
        return "nothing"
    value = getattr(plan.request, limit.size.name)
    return f"{value:,} (all)" if value == limit.size.values[-1] else f"{value:,}"


def _peak(plan: Plan | None) -> str:
    return f"{plan.peak_process_gib:.1f}" if plan else ""


def _together_table(pairs: list[Pair]) -> RichTable:
    is_grpo = pairs[0][0].request.task == "grpo"
    group = ("num_generations",) if is_grpo else ()
    table = Table(list(map(number, (*group, "per_device_train\n_batch_size", *FITS))))
    for plan, sure in pairs:
        run = plan.request
        numbers = [*([run.num_generations] if is_grpo else []), run.per_device_train_batch_size, run.length]
        sure_length = f"{sure.request.length:,}" if sure else "nothing"
        table.add(*(f"{size:,}" for size in numbers), _peak(plan), sure_length, _peak(sure))
    return table.rich()


def _together_notes(request: Request) -> list[str]:
    if request.task == "sft":
        return []
    n_passes, n_prompts = request.batch.steps_per_generation, request.batch.prompts_per_generation
    notes = [f"with {n_passes} passes and at least {n_prompts} prompts a round, as asked"]
    if request.generation == "vllm":
        notes.append("a larger group in more passes of the same batch takes no more memory, only time")
    return notes


def _outcome(plan: Plan | None) -> dict[str, Any] | None:
    """The sizes of a plan, and its peak in GiB."""
    if plan is None:
        return None
    run = plan.request
    names = [run.length_name, "per_device_train_batch_size", "gradient_accumulation_steps"]
    if run.task == "grpo":
        names.insert(1, "num_generations")
    return {name: getattr(run, name) for name in names} | {
        "peak_process_gib": round(plan.peak_process_gib, 4),
        "interval_process_gib": [round(bound, 4) for bound in plan.interval_gib],
        "verdict": fit_of(plan),
    }
