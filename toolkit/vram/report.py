"""A plan as a person reads it: parts by phase, a bar against the card, the verdict, and what to change."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.units import format_count, format_gib
from toolkit.vram.plan import Plan
from toolkit.vram.suggest import Change

ROWS = {
    "weights": "weights",
    "lora": "LoRA",
    "optimizer": "optimizer",
    "gradients": "gradients",
    "activations": "activations",
    "logits": "log-probabilities",
    "kv_cache": "vLLM KV cache",
    "engine": "vLLM, the rest",
    "cuda_graphs": "vLLM CUDA graphs",
    "context": "CUDA context",
    "slack": "allocator slack",
}
PHASES = ("load", "rollout", "update")
BAR_WIDTH = 48


def render(plan: Plan, changes: Sequence[Change] | None) -> RenderableType:
    """The whole answer. `changes`: what makes it fit; None when nothing on the list does, empty when it fits."""
    title = f"{plan.shape.name}, {format_count(plan.shape.parameters())} parameters, {plan.request.method}"
    lines: list[RenderableType] = [Text(title, "bold"), "", _table(plan), "", *_verdict(plan)]
    lines += [Text(f"note: {warning}", "yellow") for warning in plan.warnings]
    if plan.fits is False:
        lines += ["", *_advice(changes)]
    return Group(*lines)


def _table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("GiB")
    phases = [plan.phases[name] for name in PHASES if name in plan.phases]
    for phase in phases:
        table.add_column(phase.name, justify="right")
    for key, label in ROWS.items():
        values = [phase.parts_gib.get(key, 0.0) for phase in phases]
        if any(value >= 0.005 for value in values):
            table.add_row(label, *(f"{value:.2f}" if value >= 0.005 else "" for value in values))
    table.add_row(Text("process", "bold"), *(Text(f"{phase.total_gib:.2f}", "bold") for phase in phases))
    return table


def _verdict(plan: Plan) -> list[RenderableType]:
    low, high = plan.interval_gib
    peak = f"peak {format_gib(plan.peak_process_gib)} in {plan.peak_phase.name} ({low:.1f} to {high:.1f})"
    if plan.card is None:
        return [Text(f"{peak}; name a card with --gpu for a verdict")]
    share = plan.peak_process_gib / plan.card.usable_gib
    full = min(BAR_WIDTH, round(share * BAR_WIDTH))
    style = "red" if share > 1 else "yellow" if high > plan.card.usable_gib else "green"
    bar = Text("█" * full, style) + Text("░" * (BAR_WIDTH - full), "dim") + f" {share:.0%}"
    word = "does not fit" if share > 1 else "is tight" if high > plan.card.usable_gib else "fits"
    verdict = f"{peak}: {word} on {plan.card.name} with {format_gib(plan.card.usable_gib)}"
    return [bar, Text(verdict, f"bold {style}")]


def _advice(changes: Sequence[Change] | None) -> list[RenderableType]:
    if changes is None:
        return [Text("nothing on the list makes it fit: a smaller model, or a larger card")]
    lines: list[RenderableType] = [Text("what makes it fit, the cheapest first:")]
    return lines + [Text(f"  {change}   saves {format_gib(change.saves_gib)}") for change in changes]
