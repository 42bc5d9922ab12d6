"""A sweep as a picture: speed against memory with the cells that nothing beats, and how both grow with each setting."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit.bench.store import Record
from toolkit.bench.tables import Row, rows_of, varied
from toolkit.display.palette import COLOURS, LIGHT
from toolkit.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
MIN_VALUES = 3
"""Values of a setting from which a curve is drawn."""
Point = tuple[float, float]


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


def draw(records: Sequence[Record], suffix: str) -> bytes:
    """The picture as PNG, 200 dots an inch, or as SVG.

    Raises:
        SettingsError: no cell has both memory and speed.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, and nothing kept

    rows = [row for row in rows_of(records) if _speed(row) and _memory(row)]
    if not rows:
        raise SettingsError("no cell has both its memory and its speed", "a sweep with a cell that finished")
    names = varied(rows)
    numbers = {name: {row.point[name] for row in rows if _is_number(row.point.get(name))} for name in names}
    curves = [name for name in names if len(numbers[name]) >= MIN_VALUES]
    figure = Figure(figsize=(6.4, 4.2 + 2.8 * len(curves)), layout="constrained")
    axes = figure.subplots(1 + len(curves), 2, squeeze=False, height_ratios=[4.2, *[2.8] * len(curves)])
    grid = axes[0, 0].get_gridspec()
    for one in axes[0]:
        one.remove()
    _draw_pareto(figure.add_subplot(grid[0, :]), rows, names)
    for name, (left, right) in zip(curves, axes[1:], strict=True):
        _draw_curve(left, rows, name, "peak_gib", "peak GiB")
        _draw_curve(right, rows, name, "step_s", "s/step")
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix.lstrip("."), dpi=200, metadata={"Date": None} if suffix == ".svg" else None)
    return picture.getvalue()


def _draw_pareto(axes: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    points = [(_memory(row), _speed(row)) for row in rows]
    front = pareto(points)
    axes.scatter(*zip(*points, strict=True), color=LIGHT["grey"], alpha=0.5, zorder=2)
    axes.plot(*zip(*(points[i] for i in front), strict=True), "o-", color=COLOURS[0], zorder=3)
    for i in front:
        told = ", ".join(str(rows[i].point.get(name)) for name in names)
        axes.annotate(told, points[i], xytext=(5, -9), textcoords="offset points", fontsize=7)
    axes.set(xlabel="peak GiB of the process", ylabel="tokens/s", title="in blue: none is faster with less memory")
    if names:
        axes.text(0.99, 0.02, ", ".join(names), transform=axes.transAxes, ha="right", fontsize=7, color=LIGHT["grey"])
    _frame(axes)


def _draw_curve(axes: Axes, rows: Sequence[Row], name: str, figure: str, label: str) -> None:
    """One line for each combination of the other settings, with its exponent."""
    lines: dict[str, list[Point]] = {}
    for row in rows:
        others = ", ".join(str(row.point.get(other)) for other in varied(rows) if other != name)
        value = _memory(row) if figure == "peak_gib" else row.median("step_s_median")
        if value is not None and _is_number(row.point.get(name)):
            lines.setdefault(others, []).append((float(row.point[name]), value))
    for i, (others, points) in enumerate(lines.items()):
        slope = exponent(points)
        legend = f"{others or label}" + (f"  ~x^{slope:.2f}" if slope is not None else "")
        axes.plot(*zip(*sorted(points), strict=True), "o-", color=COLOURS[i % len(COLOURS)], label=legend, markersize=3)
    axes.set(xlabel=name, ylabel=label)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=6)
    _frame(axes)


def _frame(axes: Axes) -> None:
    axes.grid(visible=True, color=LIGHT["line"], zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _speed(row: Row) -> float:
    return row.median("tokens_per_s") or 0.0


def _memory(row: Row) -> float:
    return row.median("peak_gib", "process") or 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
