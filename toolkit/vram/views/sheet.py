"""A table of plans before it has a form: what `--table` computes, and all its forms are drawn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.display.tables import Table, number
from toolkit.errors import SettingsError
from toolkit.vram.verdict import Verdict

SUFFIXES = (".md", ".csv", ".png")

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
    about: dict[str, Any]
    """What was asked, as the JSON says it."""

    def verdicts(self) -> list[Verdict]:
        """Those that occur, the best first."""
        present = {cell.verdict for panel in self.panels for _, cells in panel.rows for cell in cells}
        return [verdict for verdict in MARKS if verdict in present]

    def legend(self) -> list[str]:
        """What each mark means, of those that occur."""
        return [f"{MARKS[verdict]} {MEANINGS[verdict]}" for verdict in self.verdicts() if MARKS[verdict]]

    def as_json(self) -> dict[str, Any]:
        """What was asked, the notes, and a record for each cell."""
        return self.about | {"notes": list(self.notes), "cells": list(self.records)}

    def as_file(self, suffix: str) -> bytes:
        """The content of a file of one of `SUFFIXES`."""
        match suffix.lower():
            case ".md":
                return self.markdown().encode()
            case ".csv":
                return self.csv().encode()
            case _:
                from toolkit.vram.views.heat_map import draw  # matplotlib

                return draw(self)

    def markdown(self) -> str:
        """A heading, the settings, a table with one line a row, and the notes."""
        kinds = ["checkpointing"] if len(self.panels) > 1 else []
        corner = f"{self.row_name} \\ {self.column_name}"
        table = Table([*kinds, corner, *map(number, self.columns)])
        for panel in self.panels:
            for label, cells in panel.rows:
                kind = [panel.heading.rpartition(" ")[2]] if kinds else []
                table.add(*kind, label, *(cell.marked for cell in cells))
        legend = f"{'; '.join(self.legend())}\n\n" if self.legend() else ""
        notes = "".join(f"{note}\n" for note in self.notes)
        return f"### {self.title}: {self.measure}\n\n{self.settings}\n\n{table.markdown()}\n{legend}{notes}"

    def csv(self) -> str:
        """One line a cell, under the names that the JSON has."""
        table = Table(list(self.records[0]))
        for record in self.records:
            table.add(*map(str, record.values()))
        return table.csv()

    def render(self) -> RenderableType:
        """The sheet on a terminal: 80 columns are enough for seven of cells."""
        rows = [row for panel in self.panels for row in panel.rows]
        first = max(len(label) for label, _ in rows)
        mark = max(len(MARKS[cell.verdict]) for _, cells in rows for cell in cells)
        width = 2 + max(len(text) for text in (*self.columns, *(cell.text for _, cells in rows for cell in cells)))

        def line(label: str, cells: Iterable[tuple[str, str, str]]) -> Text:
            parts = [(f"{text:>{width}} {sign:<{mark}}", style) for text, sign, style in cells]
            return Text.assemble(f"{label:<{first}}", *parts, no_wrap=True, overflow="crop")

        lines: list[RenderableType] = [Text(f"{self.title}: {self.measure}", "bold"), Text(self.settings, "dim"), ""]
        lines.append(Text(f"{self.row_name} ↓  {self.column_name} →", "dim"))
        lines.append(line("", ((column, "", "dim") for column in self.columns)))
        for panel in self.panels:
            lines += [Text(panel.heading, "bold")] if panel.heading else []
            for label, cells in panel.rows:
                lines.append(line(label, ((c.text, MARKS[c.verdict], STYLES[c.verdict]) for c in cells)))
        legend = [Text("; ".join(self.legend()))] if self.legend() else []
        return Group(*lines, "", *legend, *map(Text, self.notes))


def check_suffix(path: Path) -> None:
    """Refuse a file of another kind before anything is computed.

    Raises:
        SettingsError: names the kinds there are.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--output {path} is no kind of table", f"a name that ends in {', '.join(SUFFIXES)}")
