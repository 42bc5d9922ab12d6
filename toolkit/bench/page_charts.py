"""The charts of a sweep's page: speed against memory, growth with a setting, and maps of two settings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup

from toolkit.bench import heat_maps, plots
from toolkit.bench.plots import FIGURES, Growing
from toolkit.bench.tables import Row, varied
from toolkit.display import charts
from toolkit.display.charts import Dot, Series

READING = (
    "Joined points: no other cell is faster with less memory. Of several cells a curve shows the median, and the band "
    "around it the least and the most. (x^0.5): where the setting doubles, the figure grows 2^0.5 = 1.4 times. In maps "
    "the peak by the plan stands in brackets."
)


def charts_of(rows: Sequence[Row]) -> list[Markup]:
    """All that the cells have enough values for; none where no cell has finished."""
    finished = [
        row for row in rows if all(row.median(*path) for path in (*(kind.path for kind in FIGURES), ("tokens_per_s",)))
    ]
    if not finished:
        return []
    names = varied(rows)
    found = [_pareto(finished, names)]
    for name in plots.curves(finished, names):
        found += [_growth(finished, name, [other for other in names if other != name], kind) for kind in FIGURES]
    return found + [chart for one in heat_maps.maps_of(rows) for chart in _maps(one)]


def _pareto(rows: Sequence[Row], names: Sequence[str]) -> Markup:
    points = [(row.median("peak_gib", "process") or 0.0, row.median("tokens_per_s") or 0.0) for row in rows]
    front = plots.pareto(points)
    order = [*front, *(i for i in range(len(rows)) if i not in front)]
    labels = [", ".join(str(row.point.get(name)) for name in names) for row in rows]
    title = f"speed against memory, by {', '.join(names)}" if names else "speed against memory"
    dots = [Dot(*points[i], labels[i], is_marked=i in front) for i in order]
    return charts.scatter(title, dots, "peak GiB", "tokens/s", joins_marked=True)


def _growth(rows: Sequence[Row], name: str, others: Sequence[str], kind: Growing) -> Markup:
    """A curve for each value of the setting that moves the figure most, with the median exponent over the cells."""
    by = plots.telling(rows, others, kind)
    values = list(dict.fromkeys(row.point.get(by) for row in rows)) if by else [None]
    series = []
    for value in values:
        ours = [
            row for row in rows if plots.is_number(row.point.get(name)) and (by is None or row.point.get(by) == value)
        ]
        places: dict[float, list[float]] = {}
        for row in sorted(ours, key=lambda row: row.point[name]):
            places.setdefault(float(row.point[name]), []).append(row.median(*kind.path) or 0.0)
        lines = plots.lines_of(ours, others, name, kind.path).values()
        slopes = [slope for line in lines if (slope := plots.exponent(line)) is not None]
        power = f" (x^{statistics.median(slopes):.2f})" if slopes else ""
        medians, lows, highs = ([of(found) for found in places.values()] for of in (statistics.median, min, max))
        label = kind.label if by is None else f"{by} {value}"
        series.append(Series(label + power, list(places), medians, lows, highs))
    return charts.lines(f"{kind.label} by {name}", series, name, kind.label)


def _maps(one: heat_maps.HeatMap) -> list[Markup]:
    """Memory and speed of one combination of the other settings, on the scale of all cells."""
    found = []
    for label, path, form, _ in heat_maps.FIGURES:
        downs, acrosses = (sorted({row.point[name] for row in one.every}) for name in (one.row_name, one.column_name))
        values: list[list[float | None]] = [[None] * len(acrosses) for _ in downs]
        words = [[""] * len(acrosses) for _ in downs]
        for row in one.rows:
            i, k = downs.index(row.point[one.row_name]), acrosses.index(row.point[one.column_name])
            values[i][k] = row.median(*path)
            words[i][k] = heat_maps.said(row, path, form)
        every = [value for row in one.every if (value := row.median(*path)) is not None]
        title = f"{label}, {one.title}" if one.title else label
        rows, columns = ([f"{value:g}" for value in places] for places in (downs, acrosses))
        x, y = one.column_name, one.row_name
        found.append(charts.heat_map(title, rows, columns, values, x, y, words=words, scale=every))
    return found
