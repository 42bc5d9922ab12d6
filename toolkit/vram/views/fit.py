"""`toolkit plan --fit`: how far each size of a run can grow on a card, alone and together, and a preset of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.display.console import console
from toolkit.errors import SettingsError
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.plan import Plan, make_plan
from toolkit.vram.request import PlanFlags, Request
from toolkit.vram.search.growth import Limit, candidates, limit_of, not_dominated, sizes, surely
from toolkit.vram.search.scaling import length_name
from toolkit.vram.verdict import verdict_of
from toolkit.vram.views.preset import check_preset, write_preset
from toolkit.vram.views.sheet import MEANINGS, STYLES
from toolkit.vram.views.table import as_settings, describe_all

Pair = tuple[Plan, Plan | None]
"""The longest run that fits, and the longest that surely does."""


def give_fit(flags: PlanFlags) -> None:
    """Print how large the run can be, and write a preset of the longest that surely fits to `--output`.

    Raises:
        SettingsError: no card, a preset of what the recipes cannot do, or of a run that fits in no length.
        ModelError: an unknown model.
    """
    if flags.gpu is None:
        hint = "for example --gpu 4090, or --table for the common cards"
        raise SettingsError("--fit without --gpu", "one card", hint)
    shape, card = find(flags.model), find_card(flags.gpu)
    if flags.output is not None:
        check_preset(flags.output, flags, shape, card)
    limits = [limit_of(size, flags, shape, card) for size in sizes(flags, shape)]
    together = [(plan, surely(plan, card)) for plan in not_dominated(candidates(flags, shape, card))]
    if flags.output is not None:
        write_preset(flags.output, best_of(limits[0], flags, card))
    asked = make_plan(flags, shape, card)
    if flags.json:
        print(json.dumps(_as_json(flags, asked, limits, together), indent=2))
        return
    console.print(render(asked, card, limits, together))
    if flags.output is not None:
        wrote = f"\nwrote {flags.output}: python recipes/gsm8k_r1.py --config {shlex.quote(str(flags.output))}"
        console.print(wrote, markup=False, soft_wrap=True)


def best_of(length: Limit, flags: PlanFlags, card: Card) -> Plan:
    """What the preset holds: the longest run that surely fits, or if none does, the longest that fits at all.

    Raises:
        SettingsError: none does.
    """
    plan = length.sure or length.largest
    if plan is None:
        found = f"no {length.size.name} fits on {card.name} with the other settings as asked"
        raise SettingsError(found, "a run that fits for a preset", f"toolkit plan --gpu {flags.gpu} names the nearest")
    return plan


def render(asked: Plan, card: Card, limits: Sequence[Limit], together: Sequence[Pair]) -> RenderableType:
    """The request's own verdict, the limits one at a time, and the list of what goes together."""
    request, verdict, (low, high) = asked.request, verdict_of(asked), asked.interval_gib
    own = f"as asked: {asked.peak_process_gib:.1f} GiB ({low:.1f} to {high:.1f}), {MEANINGS[verdict]}"
    lines: list[RenderableType] = [
        Text(f"{asked.shape.name} on {card.name}: {card.usable_gib:g} GiB usable", "bold"),
        Text(describe_all(request), "dim"),
        *("", Text(own, STYLES[verdict]), ""),
        *(Text("largest, one at a time", "bold"), _limits_table(limits)),
    ]
    if request.task == "grpo":
        lines.append(Text("per_device_train_batch_size follows num_generations", "dim"))
    if together:
        sizes_beside = "batch" if request.task == "sft" else "group and batch"
        title = f"{length_name(request)} by {sizes_beside}: no line is beaten in everything"
        lines += ["", Text(title, "bold"), _together_table(together)]
        lines += [Text(note, "dim") for note in _together_notes(request)]
    return Group(*lines)


def _limits_table(limits: Sequence[Limit]) -> Table:
    table = _columns("", "asked", "fits up to", "GiB", "surely up to", "GiB")
    for limit in limits:
        fields = [_up_to(limit, limit.largest), _peak(limit.largest), _up_to(limit, limit.sure), _peak(limit.sure)]
        table.add_row(limit.size.name, f"{limit.asked:,}", *fields)
    return table


def _up_to(limit: Limit, plan: Plan | None) -> str:
    value = limit.value(plan)
    if value is None:
        return "nothing"
    return f"{value:,} (all)" if value == limit.size.values[-1] else f"{value:,}"


def _peak(plan: Plan | None) -> str:
    return f"{plan.peak_process_gib:.1f}" if plan else ""


def _together_table(pairs: Sequence[Pair]) -> Table:
    is_grpo = pairs[0][0].request.task == "grpo"
    group = ("num_generations",) if is_grpo else ()
    table = _columns(*group, "per_device_train\n_batch_size", "fits up to", "GiB", "surely up to", "GiB")
    for plan, sure in pairs:
        run, name = plan.request, length_name(plan.request)
        numbers = [*([run.num_generations] if is_grpo else []), run.per_device_train_batch_size, getattr(run, name)]
        sure_length = f"{getattr(sure.request, name):,}" if sure else "nothing"
        table.add_row(*(f"{number:,}" for number in numbers), _peak(plan), sure_length, _peak(sure))
    return table


def _together_notes(request: Request) -> list[str]:
    if request.task == "sft":
        return []
    n_passes, n_prompts = request.batch.steps_per_generation, request.batch.prompts_per_generation
    notes = [f"with {n_passes} passes and at least {n_prompts} prompts a round, as asked"]
    if request.generation == "vllm":
        notes.append("a larger group in more passes of the same batch takes no more memory, only time")
    return notes


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    return table


def _as_json(flags: PlanFlags, asked: Plan, limits: Sequence[Limit], together: Sequence[Pair]) -> dict[str, Any]:
    return {
        "model": {"name": asked.shape.name, "parameters": asked.shape.parameters()},
        "gpu": asked.card and {"name": asked.card.name, "usable_gib": asked.card.usable_gib},
        "settings": as_settings(flags),
        "asked": _outcome(asked),
        "largest": {
            limit.size.name: {
                "asked": limit.asked,
                "fits": _outcome(limit.largest),
                "surely_fits": _outcome(limit.sure),
            }
            for limit in limits
        },
        "together": [{"fits": _outcome(plan), "surely_fits": _outcome(sure)} for plan, sure in together],
        "output": None if flags.output is None else str(flags.output),
    }


def _outcome(plan: Plan | None) -> dict[str, Any] | None:
    """The sizes of a plan with its peak in GiB."""
    if plan is None:
        return None
    run = plan.request
    names = [length_name(run), "per_device_train_batch_size", "gradient_accumulation_steps"]
    if run.task == "grpo":
        names.insert(1, "num_generations")
    return {name: getattr(run, name) for name in names} | {
        "peak_process_gib": round(plan.peak_process_gib, 4),
        "interval_process_gib": [round(bound, 4) for bound in plan.interval_gib],
        "verdict": verdict_of(plan),
    }
