"""Two settings of a sweep as a map: peak memory and speed in every field, or why a cell has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.bench.tables import Row, varied

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

MAX_MAPS = 6
"""More combinations of the other settings than these are left to the table."""
HEAD, ROW = 0.9, 0.36
"""Inches of a map without its rows, and of a row."""
WORDS = {"out of memory": "memory", "timed out": "time"}
"""How the state of a cell is said in a field."""
FIGURES = (("peak GiB", ("peak_gib", "process"), ".2f", "Oranges"), ("tokens/s", ("tokens_per_s",), ",.0f", "Blues"))
DARK = 0.6
"""Share of the scale from which on text is white."""


@dataclass(frozen=True)
class HeatMap:
    """The cells of one combination of the other settings."""

    rows: Sequence[Row]
    row_name: str
    column_name: str
    title: str
    every: Sequence[Row]
    """All cells of the sweep, whose colours have one scale."""

    @property
    def height(self) -> float:
        """Inches."""
        return HEAD + ROW * len(_values(self.every, self.row_name))

    def draw(self, part: SubFigure) -> None:
        """Memory at the left, speed at the right."""
        part.suptitle(self.title, fontsize=8, x=0.01, ha="left")
        for axes, (label, path, form, colours) in zip(part.subplots(1, 2), FIGURES, strict=True):
            self._draw_one(axes, label, path, form, colours)

    def _draw_one(self, axes: Axes, label: str, path: Sequence[str], form: str, colours: str) -> None:
        from matplotlib import colormaps
        from matplotlib.patches import Rectangle

        names, columns = _values(self.every, self.row_name), _values(self.every, self.column_name)
        found = [value for row in self.every if (value := row.median(*path)) is not None]
        low, high = min(found, default=0.0), max(found, default=1.0)
        for row in self.rows:
            x, y = columns.index(row.point[self.column_name]), names.index(row.point[self.row_name])
            value = row.median(*path)
            share = 0.0 if value is None else (value - low) / ((high - low) or 1.0)
            colour: Any = "#EDEDED" if value is None else colormaps[colours](0.08 + 0.85 * share)
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.5))
            ink = "white" if share > DARK else "#222222" if value is not None else "#767676"
            axes.text(x + 0.5, y + 0.5, said(row, path, form), ha="center", va="center", fontsize=7, color=ink)
        axes.set(xlim=(0, len(columns)), ylim=(len(names), 0))
        axes.set_xticks([i + 0.5 for i in range(len(columns))], [f"{value:g}" for value in columns])
        axes.set_yticks([i + 0.5 for i in range(len(names))], [f"{value:g}" for value in names])
        axes.tick_params(length=0, labelsize=7)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(self.column_name, fontsize=7)
        axes.set_ylabel(self.row_name, fontsize=7)
        planned = ", in brackets by the plan" if path[0] == "peak_gib" and _has_plan(self.rows) else ""
        axes.set_title(label + planned, fontsize=8)


def said(row: Row, path: Sequence[str], form: str) -> str:
    """What stands in a cell's field: its figure, or how it ended; of memory the plan's in brackets."""
    value = row.median(*path)
    text = WORDS.get(row.status, row.status) if value is None else f"{value:{form}}"
    plan = (row.records[0].get("predicted") or {}).get("peak_gib") if path[0] == "peak_gib" else None
    return text if plan is None else f"{text} ({plan:{form}})"


def maps_of(rows: Sequence[Row]) -> list[HeatMap]:
    """A map for each combination of the settings beside the first two that are numbers; none without two of them."""
    names = varied(rows)
    numeric = [name for name in names if _is_numeric(rows, name)][:2]
    if len(numeric) < 2:
        return []
    others = [name for name in names if name not in numeric]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        told = ", ".join(f"{name} {row.point.get(name)}" for name in others)
        groups.setdefault(told, []).append(row)
    found = [HeatMap(group, numeric[0], numeric[1], told, rows) for told, group in groups.items()]
    return found[:MAX_MAPS]


def _values(rows: Sequence[Row], name: str) -> list[float]:
    return sorted({row.point[name] for row in rows})


def _is_numeric(rows: Sequence[Row], name: str) -> bool:
    values = [row.point.get(name) for row in rows]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _has_plan(rows: Sequence[Row]) -> bool:
    return any(row.records[0].get("predicted") for row in rows)
