"""A plan as a person reads it.

Parts by phase, a bar against the card, whether it fits, what vLLM's cache holds, how long it takes, and what to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from toolkit.display.tables import Cell, Table, facts, number, words
from toolkit.units import format_count, format_gib, format_seconds
from toolkit.vram.formula.rollout import Engine
from toolkit.vram.formula.timing import RUN_STEPS, Estimate, Timing, estimate
from toolkit.vram.plan import Plan, can_run, fit_of
from toolkit.vram.search.suggest import Change
from toolkit.vram.views.fits import ON_CARD, STYLES

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
BAR_WIDTH = 48


@dataclass(frozen=True)
class Bar:
    """A peak on its card: full up to the peak, shaded up to the upper end of its interval; ASCII without unicode."""

    peak_gib: float
    high_gib: float
    usable_gib: float
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, shaded, empty = "#=-" if options.ascii_only else "█▒░"
        tail = f" {self.peak_gib / self.usable_gib:.0%} of {format_gib(self.usable_gib)}"
        width = max(8, min(BAR_WIDTH, options.max_width - cell_len(tail)))
        peak, high = (min(width, round(width * gib / self.usable_gib)) for gib in (self.peak_gib, self.high_gib))
        bar = Text(full * peak, self.style).append(shaded * (high - peak), f"{self.style} dim")
        yield bar.append(empty * (width - high), "dim").append(tail)


def render(plan: Plan, changes: Sequence[Change] | None) -> RenderableType:
    """The whole answer. `changes` make it run; empty when it runs as asked, None when nothing is enough."""
    request = plan.request
    how = f"{request.task} with {request.method} and {request.framework}"
    title = Text.assemble(
        (plan.shape.name, "bold"), f", {format_count(plan.shape.parameters())} parameters, {how}", overflow="fold"
    )
    lines: list[RenderableType] = [title, "", _table(plan), "", *_peak(plan)]
    if rows := _facts(plan):
        lines += ["", facts(rows)]
    if plan.card is not None and not can_run(plan):
        lines += ["", *_advice(changes)]
    return Group(*lines)


def _table(plan: Plan) -> RichTable:
    phases = plan.phases.values()
    table = Table(["GiB", *(number(phase.name) for phase in phases)])
    for key, label in ROWS.items():
        values = [phase.parts_gib.get(key, 0.0) for phase in phases]
        if any(value >= 0.005 for value in values):
            table.add(label, *(f"{value:.2f}" if value >= 0.005 else "" for value in values))
    table.add(Text("process", "bold"), *(Text(f"{phase.total_gib:.2f}", "bold") for phase in phases))
    return table.rich(gap=3)


def _peak(plan: Plan) -> list[RenderableType]:
    low, high = plan.interval_gib
    peak = f"peak {format_gib(plan.peak_process_gib)} in {plan.peak_phase.name} ({low:.1f} to {high:.1f})"
    if plan.card is None:
        return [Text(f"{peak}; does it fit? name a card with --gpu")]
    fit = fit_of(plan)
    style = STYLES[fit] if can_run(plan) else "red"
    bar = Bar(plan.peak_process_gib, high, plan.card.usable_gib, style)
    return [bar, Text(f"{ON_CARD[fit]} {plan.card.name}: {peak}", f"bold {style}")]


def _facts(plan: Plan) -> list[tuple[Cell, Cell]]:
    """A line each about vLLM, time and doubts, with its label."""
    rows: list[tuple[Cell, Cell]] = []
    if plan.engine is not None and plan.engine.longest:
        rows.append(("KV cache", _cache(plan.engine, plan.request.batch.generation_batch_size)))
    timing = estimate(plan.request, plan.shape, plan.card, plan.engine)
    if timing is not None:
        rows += _times(timing)
    if plan.calibration:
        rows.append(("constants", f"learned from {plan.calibration['n_runs']} of your runs on this card"))
    return [*rows, *((Text("note", "yellow"), Text(warning, "yellow")) for warning in plan.warnings)]


def _cache(engine: Engine, generation_batch_size: int) -> str:
    n = engine.n_concurrent(engine.longest)
    held = f"{engine.kv_tokens:,} tokens: {n} sequences of {engine.longest:,} at once"
    if n >= generation_batch_size:
        return held
    return f"{held}, a round of {generation_batch_size} in {-(-generation_batch_size // n)} waves"


def _times(timing: Timing) -> list[tuple[Cell, Cell]]:
    rows: list[tuple[Cell, Cell]] = []
    if timing.rollout_tokens_per_s is not None:
        rows.append(("rollout", f"{_about(timing.rollout_tokens_per_s)} generated"))
    return [
        *rows,
        ("update", _about(timing.update_tokens_per_s)),
        ("a step", _seconds(timing.step_s)),
        (f"{RUN_STEPS} steps", _seconds(timing.hours_per_500_steps, 3600)),
        ("", Text("estimates from the card's rates, with every length at its limit", "dim")),
    ]


def _seconds(value: Estimate, unit_s: float = 1.0) -> str:
    """`21s (17s to 40s)`."""
    low, mid, high = (format_seconds(unit_s * number) for number in (value.low, value.mid, value.high))
    return f"{mid} ({low} to {high})"


def _about(value: Estimate) -> str:
    """`1,900 tokens/s (1,100 to 2,300)`, to two digits: an estimate has no more."""
    low, mid, high = (f"{float(f'{number:.2g}'):,.0f}" for number in (value.low, value.mid, value.high))
    return f"{mid} tokens/s ({low} to {high})"


def _advice(changes: Sequence[Change] | None) -> list[RenderableType]:
    if changes is None:
        return [Text("nothing that is known makes it run: take a smaller model, or a larger card")]
    table = Table([number(""), words()], has_header=False)
    for change in changes:
        sign = "+" if change.saves_gib < 0 else "-"
        table.add(f"  {sign}{format_gib(abs(change.saves_gib))}", str(change))
    return [Text("what makes it run, the cheapest first, and what each does to the peak:"), table.rich()]
