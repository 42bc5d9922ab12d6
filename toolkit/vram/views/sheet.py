"""A table of plans, and its forms: a screen, Markdown, CSV, JSON or a picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.display.tables import Table, number
from toolkit.errors import SettingsError
from toolkit.vram.plan import Fit
from toolkit.vram.views.fits import MARKS, MEANINGS, STYLES

SUFFIXES = (".md", ".csv", ".png")


@dataclass(frozen=True)
class Cell:
    """One field of the table."""

    text: str
    fullness: float
    """0 to 1: its shade in a picture."""
    fit: Fit

    @property
    def marked(self) -> str:
        """The text with the mark of its fit, which a reader without colours needs."""
        return f"{self.text} {MARKS[self.fit]}".strip()


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
    """What a reader must know to read the table right, a sentence each."""
    records: tuple[dict[str, Any], ...]
    """One flat mapping a cell, the same keys in all: rows of a CSV file, cells of the JSON."""
    about: dict[str, Any]
    """What was asked, as the JSON says it."""

    def fits(self) -> list[Fit]:
        """Those that occur in a cell, the best first."""
        present = {cell.fit for panel in self.panels for _, cells in panel.rows for cell in cells}
        return [fit for fit in MARKS if fit in present]

    def legend(self) -> list[str]:
        """What each mark means that occurs."""
        return [f"{MARKS[fit]} {MEANINGS[fit]}" for fit in self.fits() if MARKS[fit]]

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
        """For a terminal: 80 columns hold seven columns of cells."""
        rows = [row for panel in self.panels for row in panel.rows]
        first = max(len(label) for label, _ in rows)
        mark = max(len(MARKS[cell.fit]) for _, cells in rows for cell in cells)
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
                lines.append(line(label, ((c.text, MARKS[c.fit], STYLES[c.fit]) for c in cells)))
        legend = [Text("; ".join(self.legend()))] if self.legend() else []
        return Group(*lines, "", *legend, *map(Text, self.notes))


def check_suffix(path: Path) -> None:
    """Refuse a file of another kind, with a SettingsError, before anything is computed."""
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--output {path} is no kind of table", f"a name that ends in {', '.join(SUFFIXES)}")
