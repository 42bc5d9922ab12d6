"""Charts as SVG for a page: written through matplotlib, in colours that the page sets for light, dark and paper.

Every function returns a `<figure>` with the chart, its title, a key where there are several series, and a text for who
cannot see it. NaN, infinities and None are gaps. A chart without a value says so. Texts may hold anything: they are
escaped, and `$` is a dollar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from toolkit.display import svg
from toolkit.display.palette import COLOURS, LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = Sequence[float | None]
Mark = tuple[float, str]
"""A place on the x axis, and the word beside it."""
WIDTH, HEIGHT = 5.2, 2.7
"""Inches, at 9 point: on a phone the text is still 8 pixels high."""
DASHES = ("-", "--", ":", "-.")
MOST_MARKERS = 40
"""Values of a series up to which each is marked, so that one between two gaps is seen."""
FLAT = 1e-12


@dataclass(frozen=True)
class Series:
    """A line by its values, with a band where `low` and `high` are given."""

    name: str
    x: Sequence[float]
    y: Values
    low: Values | None = None
    high: Values | None = None


@dataclass(frozen=True)
class Bar:
    """A value with its interval; bars of one `group` share a colour."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    group: str = ""


@dataclass(frozen=True)
class Dot:
    """A point of a scatter; one that is `is_marked` stands out, and has its label beside it."""

    x: float
    y: float
    label: str = ""
    is_marked: bool = False


def lines(title: str, series: Sequence[Series], x: str, y: str = "", marks: Sequence[Mark] = ()) -> Markup:
    """Lines over a common axis. `x` and `y` name the axes, with their units."""
    shown = [one for one in series if _finite(one.y)]

    def draw(axes: Axes) -> None:
        for i, one in enumerate(shown):
            colour, values = COLOURS[i % len(COLOURS)], _gaps(one.y)
            if one.low is not None and one.high is not None:
                axes.fill_between(one.x, _gaps(one.low), _gaps(one.high), color=colour, alpha=0.18, linewidth=0)
            marker = "o" if len(one.x) <= MOST_MARKERS else ""
            axes.plot(one.x, values, _dash(i) + marker, color=colour, markersize=3, linewidth=1.4)
        _x_marks(axes, marks)
        _whole_ticks(axes, [value for one in shown for value in one.x])
        axes.set(xlabel=x, ylabel=y)

    told = [f"{one.name or y}: {_course(one)}" for one in shown]
    return _figure(title, draw if shown else None, told, [one.name for one in shown])


def bars(title: str, given: Sequence[Bar], x: str = "", form: str = ".3g") -> Markup:
    """Horizontal bars from top to bottom, each with its value written as `form` says, and its interval as a line."""
    shown = [bar for bar in given if bar.value is not None and math.isfinite(bar.value)]
    groups = list(dict.fromkeys(bar.group for bar in shown))

    def draw(axes: Axes) -> None:
        for i, bar in enumerate(shown):
            axes.barh(
                i, bar.value or 0.0, height=0.62, color=COLOURS[groups.index(bar.group) % len(COLOURS)], alpha=0.75
            )
            ends = [end for end in (bar.value, *_interval(bar)) if end is not None]
            if len(ends) == 3:
                axes.plot(ends[1:], [i, i], "-", color=LIGHT["ink"], linewidth=1.2)
            axes.annotate(f"{bar.value:{form}}", (max(0.0, *ends), i), (4, 0), textcoords="offset points", va="center")
        axes.set(xlabel=x, ylim=(len(shown) - 0.5, -0.5))
        axes.set_yticks(range(len(shown)), [_short(bar.label) for bar in shown])
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")

    told = [f"{bar.label}: {_with_interval(bar, form)}" for bar in shown]
    return _figure(title, draw if shown else None, told, groups, height=0.7 + 0.3 * len(shown))


def histogram(
    title: str, samples: Mapping[str, Values], x: str, marks: Sequence[Mark] = (), n_bins: int = 30
) -> Markup:
    """How often values occur, in bins that all samples share."""
    import numpy as np

    shown = {name: kept for name, values in samples.items() if (kept := _finite(values))}
    everything = [value for values in shown.values() for value in values]

    def draw(axes: Axes) -> None:
        whole = all(float(value).is_integer() for value in everything)
        low, high = min(everything), max(everything)
        if whole and high - low < n_bins:
            edges = [low - 0.5 + i for i in range(int(high - low) + 2)]  # a bin a whole number
        else:
            edges = [float(edge) for edge in np.histogram_bin_edges(everything, n_bins)]
        for i, values in enumerate(shown.values()):
            colour = COLOURS[i % len(COLOURS)]
            axes.hist(values, edges, histtype="stepfilled", color=colour, alpha=0.35 if len(shown) > 1 else 0.6)
            axes.hist(values, edges, histtype="step", color=colour, linestyle=_dash(i))
        _x_marks(axes, marks)
        _whole_ticks(axes, everything)
        axes.set(xlabel=x, ylabel="count")

    told = [f"{name or x}: {len(values):,} values, {_range(values)}" for name, values in shown.items()]
    return _figure(title, draw if shown else None, told, list(shown))


def scatter(title: str, dots: Sequence[Dot], x: str, y: str, *, joins_marked: bool = False) -> Markup:
    """Points, and a line through the marked ones in their order where they are a front."""
    shown = [dot for dot in dots if math.isfinite(dot.x) and math.isfinite(dot.y)]
    marked = [dot for dot in shown if dot.is_marked]

    def draw(axes: Axes) -> None:
        rest = [dot for dot in shown if not dot.is_marked]
        axes.plot([dot.x for dot in rest], [dot.y for dot in rest], "o", color=LIGHT["grey"], alpha=0.5, markersize=4)
        style = "o-" if joins_marked else "o"
        axes.plot([dot.x for dot in marked], [dot.y for dot in marked], style, color=COLOURS[0], markersize=5)
        for dot in marked:
            axes.annotate(_short(dot.label), (dot.x, dot.y), (5, -9), textcoords="offset points", size=7.5)
        axes.margins(x=0.12, y=0.12)
        axes.set(xlabel=x, ylabel=y)

    told = [f"{dot.label}: {x} {dot.x:.4g}, {y} {dot.y:.4g}" for dot in marked] or [f"{len(shown)} points"]
    return _figure(title, draw if shown else None, told, [], height=3.4)


def heat_map(
    title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Values], x: str, y: str, form: str = ".3g"
) -> Markup:
    """A field for each of `values[row][column]`, the fuller the larger; what has no value stays empty."""
    everything = [value for row in values for value in _finite(row)]

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        low, high = min(everything), max(everything)
        for i, row in enumerate(values):
            for k, value in enumerate(_gaps(row)):
                if math.isnan(value):
                    continue
                # no fuller, or the text on it would be hard to read
                fullness = 0.08 + 0.5 * (value - low) / max(high - low, FLAT)
                axes.add_patch(Rectangle((k, i), 0.96, 0.94, color=COLOURS[0], alpha=fullness, linewidth=0))
                axes.annotate(f"{value:{form}}", (k + 0.48, i + 0.47), ha="center", va="center", size=8)
        axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0), xlabel=x, ylabel=y)
        axes.set_xticks([k + 0.48 for k in range(len(columns))], [_short(name) for name in columns])
        axes.set_yticks([i + 0.47 for i in range(len(rows))], [_short(name) for name in rows])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)

    told = [f"{y} by {x}, {_range(everything)}"] if everything else []
    return _figure(title, draw if everything else None, told, [], height=0.9 + 0.28 * len(rows))


def _figure(
    title: str, draw: Callable[[Axes], None] | None, told: Sequence[str], names: Sequence[str], height: float = HEIGHT
) -> Markup:
    """Title, chart and key; `told` is what the chart says in words, a sentence a series."""
    head = Markup("<figcaption><b>{}</b>{}</figcaption>").format(title, _key(names))
    if draw is None:
        return Markup('<figure class="chart">{}<p class="note">No values.</p></figure>').format(head)
    picture = svg.draw(draw, f"{title}. {'; '.join(told)}", (WIDTH, height))
    return Markup('<figure class="chart">{}{}</figure>').format(head, picture)


def _key(names: Sequence[str]) -> Markup:
    """Colour and name of each series; one alone, or one without a name, needs none."""
    if len(names) < 2:
        return Markup("")
    swatch = Markup('<span class="key" style="--key: var(--c{})"><i class="{}"></i>{}</span>')
    kinds = ("solid", "dashed", "dotted", "dashed")
    return Markup("").join(
        swatch.format(i % len(COLOURS) + 1, kinds[i // len(COLOURS) % len(kinds)], escape(name))
        for i, name in enumerate(names)
        if name
    )


def _dash(i: int) -> str:
    """The next kind of line when the colours have been used up."""
    return DASHES[i // len(COLOURS) % len(DASHES)]


def _x_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    for place, word in marks:
        axes.axvline(place, color=LIGHT["grey"], linewidth=0.8, linestyle=":")
        axes.annotate(
            _short(word), (place, 1), (3, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", size=7.5, color=LIGHT["grey"],
        )  # fmt: skip


def _whole_ticks(axes: Axes, values: Sequence[float]) -> None:
    """No 1.5 between steps 1 and 2."""
    from matplotlib.ticker import MaxNLocator

    if all(float(value).is_integer() for value in values):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def _gaps(values: Values) -> list[float]:
    return [value if value is not None and math.isfinite(value) else math.nan for value in values]


def _finite(values: Values) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _interval(bar: Bar) -> tuple[float, float] | tuple[()]:
    return (bar.low, bar.high) if bar.low is not None and bar.high is not None else ()


def _short(label: str, most: int = 28) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"


def _course(one: Series) -> str:
    values = _finite(one.y)
    return f"from {values[0]:.3g} to {values[-1]:.3g}, {_range(values)}"


def _range(values: Sequence[float]) -> str:
    return f"between {min(values):.3g} and {max(values):.3g}"


def _with_interval(bar: Bar, form: str) -> str:
    ends = _interval(bar)
    told = f" ({ends[0]:{form}} to {ends[1]:{form}})" if ends else ""
    return f"{bar.value:{form}}{told}"
