"""A table of plans before it has a form: what `--table` computes, and all its forms are drawn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.vram.verdict import Verdict

MARKS: dict[Verdict, str] = {"fits": "", "tight": "~", "no cache": "kv", "too large": "✗"}
MEANINGS: dict[Verdict, str] = {
    "fits": "fits",
    "tight": "fits, but not with the upper end of the plan's interval",
    "no cache": "vLLM's cache cannot hold one sequence",
    "too large": "does not fit",
}
STYLES: dict[Verdict, str] = {"fits": "green", "tight": "yellow", "no cache": "magenta", "too large": "red"}


@dataclass(frozen=True)
class Cell:
    """One field: what is written, and how full it looks."""

    text: str
    fullness: float
    """0 to 1: its shade where colours are drawn."""
    verdict: Verdict

    @property
    def marked(self) -> str:
        """The text with the verdict's mark, which a reader without colours needs."""
        return f"{self.text} {MARKS[self.verdict]}".strip()


@dataclass(frozen=True)
class Panel:
    """Rows that share a heading; `rows` are labels with as many cells as the sheet has columns."""

    heading: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Sheet:
    """A whole table."""

    title: str
    measure: str
    """What the cells say, and in which unit."""
    settings: str
    """One line: what all cells have in common."""
    row_name: str
    column_name: str
    columns: tuple[str, ...]
    panels: tuple[Panel, ...]
    shade: str
    """What a darker field means."""
    notes: tuple[str, ...]
    """What a reader must know to read it right, a sentence each."""
    records: tuple[dict[str, Any], ...]
    """One flat mapping a cell, the same keys in all: rows of a CSV file, cells of the JSON."""

    def verdicts(self) -> list[Verdict]:
        """Those that occur, the best first."""
        present = {cell.verdict for panel in self.panels for _, cells in panel.rows for cell in cells}
        return [verdict for verdict in MARKS if verdict in present]

    def legend(self) -> list[str]:
        """What each mark means, of those that occur."""
        return [f"{MARKS[verdict]} {MEANINGS[verdict]}" for verdict in self.verdicts() if MARKS[verdict]]


def render(sheet: Sheet) -> RenderableType:
    """The sheet on a terminal: 80 columns are enough for seven of cells."""
    rows = [row for panel in sheet.panels for row in panel.rows]
    first = max(len(label) for label, _ in rows)
    mark = max(len(MARKS[cell.verdict]) for _, cells in rows for cell in cells)
    width = 2 + max(len(text) for text in (*sheet.columns, *(cell.text for _, cells in rows for cell in cells)))

    def line(label: str, cells: Iterable[tuple[str, str, str]]) -> Text:
        parts = [(f"{text:>{width}} {sign:<{mark}}", style) for text, sign, style in cells]
        return Text.assemble(f"{label:<{first}}", *parts, no_wrap=True, overflow="crop")

    lines: list[RenderableType] = [Text(f"{sheet.title}: {sheet.measure}", "bold"), Text(sheet.settings, "dim"), ""]
    lines.append(Text(f"{sheet.row_name} ↓  {sheet.column_name} →", "dim"))
    lines.append(line("", ((column, "", "dim") for column in sheet.columns)))
    for panel in sheet.panels:
        lines += [Text(panel.heading, "bold")] if panel.heading else []
        for label, cells in panel.rows:
            lines.append(line(label, ((c.text, MARKS[c.verdict], STYLES[c.verdict]) for c in cells)))
    legend = [Text("; ".join(sheet.legend()))] if sheet.legend() else []
    return Group(*lines, "", *legend, *map(Text, sheet.notes))
