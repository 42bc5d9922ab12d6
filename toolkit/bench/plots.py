"""A sweep as a picture: speed against memory with the cells that nothing beats, how both grow with each setting, and
maps of two settings. What the planner expected is dotted, or in brackets."""

from __future__ import annotations

import io
import math
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.bench import heat_maps
from toolkit.bench.store import Record
from toolkit.bench.tables import Row, notes, rows_of, varied
from toolkit.display.palette import COLOURS, LIGHT
from toolkit.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
MIN_VALUES = 3
"""Values of a setting from which a curve is drawn."""
WIDTH, PARETO_HEIGHT, CURVE_HEIGHT = 7.6, 3.8, 2.8
"""Inches."""
Point = tuple[float, float]
_MARKS = [digit * 10.0**power for power in range(-4, 7) for digit in (1, 1.5, 2, 3, 4, 5, 7)]


def pareto(points: Sequence[Point]) -> list[int]:
    """Indices of the points (GiB, tokens/s) that no other one beats in both, the leanest first."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def exponent(points: Sequence[Point]) -> float | None:
    """The slope of log y over log x by least squares, `y ~ x ** slope`; None where it has no meaning."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len({x for x, _ in logs}) < 2:
        return None
    xs, ys = zip(*logs, strict=True)
    return statistics.linear_regression(xs, ys).slope


def curves(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """The settings with enough numbers to draw what grows with them."""
    numbers = {name: {row.point[name] for row in rows if is_number(row.point.get(name))} for name in names}
    return [name for name in names if len(numbers[name]) >= MIN_VALUES]


def lines_of(rows: Sequence[Row], names: Sequence[str], name: str, path: Sequence[str]) -> dict[str, list[Point]]:
    """Points (setting, figure) with x ascending, a line for each combination of the other settings."""
    lines: dict[str, list[Point]] = {}
    for row in rows:
        value = row.median(*path)
        if value is not None and is_number(row.point.get(name)):
            others = ", ".join(str(row.point.get(other)) for other in names if other != name)
            lines.setdefault(others, []).append((float(row.point[name]), value))
    return {others: sorted(points) for others, points in lines.items()}


@dataclass(frozen=True)
class Growing:
    """A figure that grows with a setting."""

    label: str
    path: tuple[str, ...]
    """Where it stands in what was measured."""
    planned: str
    """Its key in what was predicted."""


FIGURES = (Growing("peak GiB", ("peak_gib", "process"), "peak_gib"), Growing("s/step", ("step_s_median",), "step_s"))


def draw(records: Sequence[Record], suffix: str) -> bytes:
    """The picture as PNG, 200 dots an inch, or as SVG.

    Raises:
        SettingsError: no cell has both memory and speed.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, and nothing kept

    every = rows_of(records)
    rows = [row for row in every if _speed(row) and _memory(row)]
    if not rows:
        raise SettingsError("no cell has both its memory and its speed", "a sweep with a cell that finished")
    names = varied(every)
    growing = curves(rows, names)
    maps = heat_maps.maps_of(every)
    heights = [PARETO_HEIGHT, *[CURVE_HEIGHT] * len(growing), *(one.height for one in maps)]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if told := "; ".join(notes(records)):
        parts[0].suptitle(textwrap.fill(told, 110), fontsize=7, color=LIGHT["ink"])
    left, beside = parts[0].subplots(1, 2, width_ratios=(3, 1))
    _draw_pareto(left, beside, rows, names)
    for name, part in zip(growing, parts[1:], strict=False):
        for axes, kind in zip(part.subplots(1, 2), FIGURES, strict=True):
            _draw_curves(axes, rows, name, kind)
    for one, part in zip(maps, parts[1 + len(growing) :], strict=True):
        one.draw(part)
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix.lstrip("."), dpi=200, metadata={"Date": None} if suffix == ".svg" else None)
    return picture.getvalue()


def _draw_pareto(axes: Axes, beside: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    """The cells as points; those of the front have a number, which a list beside them explains."""
    points = [(_memory(row), _speed(row)) for row in rows]
    front = pareto(points)
    axes.scatter(*zip(*points, strict=True), color=LIGHT["grey"], alpha=0.5, zorder=2, s=18)
    axes.plot(*zip(*(points[i] for i in front), strict=True), "o-", color=COLOURS[0], zorder=3, markersize=5)
    lines = [", ".join(name.replace("_", " ") for name in names)]
    for n, i in enumerate(front, 1):
        axes.annotate(str(n), points[i], xytext=(-4, 5), textcoords="offset points", fontsize=7, ha="right")
        lines.append(f"{n}  " + ", ".join(str(rows[i].point.get(name)) for name in names))
    axes.set(xlabel="peak GiB of the process", ylabel="tokens/s")
    axes.set_title("in blue: no other cell is faster with less memory", fontsize=9)
    _frame(axes)
    beside.axis("off")
    told = "\n".join(textwrap.fill(line, 30, subsequent_indent="    ") for line in lines)
    beside.text(0, 1, told, transform=beside.transAxes, va="top", fontsize=7, color=LIGHT["ink"])


def _draw_curves(axes: Axes, rows: Sequence[Row], name: str, kind: Growing) -> None:
    """One line for each combination of the other settings, on logarithmic axes, where a power is straight.

    Colours tell the setting apart that moves the figure most; its legend has the median exponent. Dotted: predicted.
    """
    others = [other for other in varied(rows) if other != name]
    by = telling(rows, others, kind)
    values = list(dict.fromkeys(row.point.get(by) for row in rows)) if by else [None]
    for i, value in enumerate(values):
        ours = [row for row in rows if not by or row.point.get(by) == value]
        colour, slopes = COLOURS[i % len(COLOURS)], []
        for points in lines_of(ours, others, name, kind.path).values():
            axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=3, linewidth=1)
            slopes += [slope for slope in [exponent(points)] if slope is not None]
        for points in lines_of(_as_planned(ours, kind), others, name, kind.path).values():
            axes.plot(*zip(*points, strict=True), ":", color=colour, linewidth=1)
        power = f"  ~ x^{statistics.median(slopes):.2f}" if slopes else ""
        axes.plot([], [], "o-", color=colour, markersize=3, label=f"{kind.label if by is None else value}{power}")
    ticks = sorted({row.point[name] for row in rows if is_number(row.point.get(name))})
    axes.set(xlabel=name, ylabel=kind.label, xscale="log", yscale="log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    marks = [mark for mark in _MARKS if low <= mark <= high]
    if len(marks) < 2:  # a range in which no round number lies
        marks = [low * (high / low) ** part for part in (0.1, 0.5, 0.9)]
    axes.set_yticks(marks, [f"{mark:.3g}" for mark in marks])
    if planner := next(
        (plan.get("planner", "planner") for row in rows if (plan := row.records[0].get("predicted"))), ""
    ):
        axes.set_title(f"dotted: predicted ({planner})", fontsize=7)
    axes.legend(fontsize=6, title=by and by.replace("_", " "), title_fontsize=6, framealpha=0.8)
    _frame(axes)


def _as_planned(rows: Sequence[Row], kind: Growing) -> list[Row]:
    """The rows as if what was predicted had been measured."""
    return [
        Row(row.point, [_planned(record, kind) for record in row.records if record.get("predicted")]) for row in rows
    ]


def _planned(record: Record, kind: Growing) -> Record:
    value: Any = record["predicted"].get(kind.planned)
    for name in reversed(kind.path):
        value = {name: value}
    return {"status": "ok", "measured": value}


def telling(rows: Sequence[Row], others: Sequence[str], kind: Growing) -> str | None:
    """The setting that moves the figure most; None without any."""
    return max(others, key=lambda other: _spread(rows, other, kind), default=None)


def _spread(rows: Sequence[Row], name: str, kind: Growing) -> float:
    """How far a setting moves a figure: the largest of its values' medians over the smallest."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if found := row.median(*kind.path):
            groups.setdefault(repr(row.point.get(name)), []).append(found)
    medians = [statistics.median(group) for group in groups.values()]
    return max(medians) / min(medians) if medians else 1.0


def _frame(axes: Axes) -> None:
    axes.grid(visible=True, color=LIGHT["line"], zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _speed(row: Row) -> float:
    return row.median("tokens_per_s") or 0.0


def _memory(row: Row) -> float:
    return row.median("peak_gib", "process") or 0.0


def is_number(value: Any) -> bool:
    """A number that can stand on an axis; true and false cannot."""
    return isinstance(value, int | float) and not isinstance(value, bool)
