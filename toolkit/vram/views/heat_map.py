"""A table of plans as a picture: what fits is blue, all else has a colour and a mark of its own."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from toolkit.display.palette import LIGHT
from toolkit.vram.plan import Fit
from toolkit.vram.views.fits import MARKS, MEANINGS
from toolkit.vram.views.sheet import Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches; the page is one pair of axes whose unit is the inch, with y downward
CELL, ROW, GAP, MARGIN = 0.86, 0.34, 0.04, 0.35
LINE, CHARACTER = 0.2, 0.066  # of the small text
TITLE_LINE, TITLE_CHARACTER = 0.28, 0.12
MIN_WIDTH, DOTS_PER_INCH = 7.0, 200
PALE, DEEP = (0.91, 0.96, 0.99), (0.30, 0.66, 0.90)  # no darker, or black on it would be hard to read
COLOURS: dict[Fit, str] = {"tight": LIGHT["c5"], "no cache": LIGHT["c4"], "too large": "#ededed"}
INK, GREY, WHITE = LIGHT["ink"], LIGHT["grey"], LIGHT["paper"]


def draw(sheet: Sheet) -> bytes:
    """The sheet as PNG, 200 dots an inch."""
    picture = io.BytesIO()
    figure_of(sheet).savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def figure_of(sheet: Sheet) -> Figure:
    """The sheet on one page, as wide as its columns and as high as it gets."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # without pyplot: no display, and nothing kept

    left = MARGIN + 0.2 + 0.09 * max(len(label) for panel in sheet.panels for label, _ in panel.rows)
    width = max(MIN_WIDTH, left + CELL * len(sheet.columns) + MARGIN)
    with rc_context({"font.family": "DejaVu Sans", "text.color": INK}):  # the one that comes with matplotlib
        figure = Figure(dpi=DOTS_PER_INCH, facecolor=WHITE)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        y = _head(axes, sheet, left, width)
        for panel in sheet.panels:
            y = _panel(axes, panel, left, y)
        height = _foot(axes, sheet, y + 0.3, width)
        axes.set(xlim=(0, width), ylim=(height, 0))
        figure.set_size_inches(width, height)
    return figure


def _head(axes: Axes, sheet: Sheet, left: float, width: float) -> float:
    """Title, settings, names of the axes and the columns' labels; returns where the first panel begins."""
    y = MARGIN + 0.05
    for line in _wrapped(sheet.title, width, TITLE_CHARACTER):
        axes.text(MARGIN, y, line, size=13, weight="bold", va="center")
        y += TITLE_LINE
    axes.text(MARGIN, y, sheet.measure, size=10.5, va="center")
    y += TITLE_LINE
    for line in _wrapped(sheet.settings, width, CHARACTER):
        axes.text(MARGIN, y, line, size=8.5, color=GREY, va="center")
        y += LINE
    y += 0.22
    axes.text(MARGIN, y, f"{sheet.row_name} ↓   {sheet.column_name} →", size=9, color=GREY, va="center")
    y += 0.28
    for i, column in enumerate(sheet.columns):
        axes.text(left + CELL * (i + 0.5), y, column, size=9.5, ha="center", va="center")
    return y + 0.17


def _panel(axes: Axes, panel: Panel, left: float, y: float) -> float:
    """Heading and rows; returns where the next panel begins."""
    if panel.heading:
        axes.text(MARGIN, y + 0.24, panel.heading, size=9.5, weight="bold", va="center")
        y += 0.42
    for label, cells in panel.rows:
        axes.text(left - 0.15, y + ROW / 2, label, size=9.5, ha="right", va="center")
        for i, cell in enumerate(cells):
            background, ink = _colours(cell.fit, cell.fullness)
            _box(axes, background, left + CELL * i, y, CELL)
            centre = (left + CELL * i + CELL / 2, y + ROW / 2)
            axes.text(*centre, cell.marked, size=9.5, color=ink, ha="center", va="center")
        y += ROW
    return y


def _foot(axes: Axes, sheet: Sheet, y: float, width: float) -> float:
    """What the colours mean, and the notes; returns the page's height."""
    for fit in sheet.fits():
        meaning = f"{MEANINGS[fit]}, {sheet.shade}" if fit == "fits" else MEANINGS[fit]
        background, ink = _colours(fit, 0.35)
        _box(axes, background, MARGIN, y - ROW / 2, 0.45)
        axes.text(MARGIN + 0.225, y, MARKS[fit], size=9, color=ink, ha="center", va="center")
        axes.text(MARGIN + 0.55, y, meaning, size=8.5, va="center")
        y += ROW
    for line in (line for note in sheet.notes for line in _wrapped(note, width, CHARACTER)):
        axes.text(MARGIN, y + 0.05, line, size=8.5, color=GREY, va="center")
        y += LINE
    return y + MARGIN - LINE / 2


def _wrapped(text: str, width: float, character: float) -> list[str]:
    return textwrap.wrap(text, int((width - 2 * MARGIN) / character))


def _colours(fit: Fit, fullness: float) -> tuple[str | tuple[float, ...], str]:
    """Background and ink."""
    if fit in COLOURS:
        return COLOURS[fit], GREY if fit == "too large" else INK
    blue = tuple(pale + fullness * (deep - pale) for pale, deep in zip(PALE, DEEP, strict=True))
    return blue, INK


def _box(axes: Axes, colour: str | tuple[float, ...], x: float, y: float, width: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    size = (width - GAP, ROW - GAP)
    corner = (x + GAP / 2, y + GAP / 2)
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.04", color=colour, lw=0))
