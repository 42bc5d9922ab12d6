"""Two completions beside each other for a person to choose from, and what the choices came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from toolkit.display.tables import Table, number
from toolkit.display.terminal import escaped

BESIDE_WIDTH = 100
"""Columns of a terminal from which on two texts stand beside each other, else one below the other."""
KEY_LINE = "l left   r right   t tie   s skip   u undo   q stop, and go on later"
Side = tuple[str, bool]
"""A completion, and whether the length limit truncated it."""


def pair_view(place: str, question: str, gold: str | None, left: Side, right: Side, width: int) -> RenderableType:
    """The question and both completions, whose they are not said; `place` is `pair 3 of 40`."""
    asked = Text(escaped(question.strip()))
    if gold:
        asked.append(f"\nright answer: {escaped(gold)}", "dim")
    sides = beside([("left", _shown(left)), ("right", _shown(right))], width)
    return Group(Rule(place), asked, "", sides, Text(KEY_LINE, "dim"))


def beside(texts: list[tuple[str, Text]], width: int) -> RenderableType:
    """Texts under their titles, in columns where the terminal is wide enough."""
    panels = [Panel(text, title=Text(title, "bold"), title_align="left") for title, text in texts]
    if width < BESIDE_WIDTH:
        return Group(*panels)
    grid = RichTable.grid(padding=(0, 1, 0, 0), expand=True)
    for _ in panels:
        grid.add_column(ratio=1)
    grid.add_row(*panels)
    return grid


def _shown(side: Side) -> Text:
    text, is_truncated = side
    shown = Text(escaped(text.strip())) if text.strip() else Text("(nothing)", "dim")
    return shown.append("\n(truncated: the length limit was reached)", "yellow") if is_truncated else shown


def result_table(a: str, b: str, result: Mapping[str, Any]) -> RenderableType:
    """Who won how often, and B's win rate; `result` is that of `Rating.result`."""
    table = Table(["", number("preferred"), number("win rate"), "95% interval"])
    rate, interval = result["win_rate"], result["interval"]
    rates = (None, None) if rate is None else (1 - rate, rate)
    intervals = (None, None) if interval is None else ((1 - interval[1], 1 - interval[0]), interval)
    for name, key, share, ends in zip((a, b), ("a_wins", "b_wins"), rates, intervals, strict=True):
        shown = "-" if ends is None else f"{ends[0]:.1%} to {ends[1]:.1%}"
        table.add(name, str(result[key]), Text("-" if share is None else f"{share:.1%}", "bold"), shown)
    counted = f"{result['ties']} tied, half a win each; {result['skipped']} skipped, not counted"
    return Panel(
        Group(table.rich(gap=3), "", Text(counted)),
        title=Text(f"rated blind: {result['n_judged']} of {result['n_pairs']} pairs", "bold"),
        title_align="left",
        border_style="cyan",
    )
