"""Answers of a model while it writes them: one after another, or two beside each other where the terminal is wide."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from toolkit.display.ratings import BESIDE_WIDTH, beside
from toolkit.display.terminal import escaped

FRAME_S = 0.1
FRAME_LINES = 4  # of the panels and the line below them


class View(Protocol):
    """What shows the answers to one question."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def begin(self, who: str) -> None:
        """An answer begins."""

    def tell(self, piece: str) -> None:
        """It goes on."""

    def end(self, note: str) -> None:
        """It is over; `note` says how where that matters, and may be empty."""


def view_of(console: Console, names: Sequence[str]) -> View:
    """The view for the answers of these, in this order; a single one has no heading."""
    if len(names) > 1 and console.is_terminal and console.width >= BESIDE_WIDTH:
        return Beside(console, names)
    return OneByOne(console, has_headings=len(names) > 1)


class OneByOne:
    """Each answer as it comes, where it will stay."""

    def __init__(self, console: Console, *, has_headings: bool) -> None:
        self._console, self._has_headings = console, has_headings
        self._is_in_line = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_in_line:
            self._print("\n")

    def begin(self, who: str) -> None:
        if self._has_headings:
            self._print(f"{who}:\n", "bold")

    def tell(self, piece: str) -> None:
        self._print(escaped(piece))
        self._is_in_line = not piece.endswith("\n")

    def end(self, note: str) -> None:
        if self._is_in_line:
            self._print("\n")
        self._is_in_line = False
        if note:
            self._print(f"({note})\n", "yellow")

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style), end="", soft_wrap=True)


class Beside:
    """All answers in columns: while they grow the last lines that fit, at the end the whole."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._texts = {name: Text() for name in names}
        self._who = names[0]
        self._live = Live(console=console, get_renderable=self._tails, auto_refresh=False, transient=True)
        self._drawn_s = 0.0

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        self._console.print(beside(list(self._texts.items()), self._console.width))

    def begin(self, who: str) -> None:
        self._who = who

    def tell(self, piece: str) -> None:
        self._texts[self._who].append(escaped(piece))
        if time.monotonic() - self._drawn_s >= FRAME_S:
            self._live.refresh()
            self._drawn_s = time.monotonic()

    def end(self, note: str) -> None:
        text = self._texts[self._who]
        text.rstrip()
        if note:
            text.append(f"\n({note})", "yellow")
        self._live.refresh()

    def _tails(self) -> RenderableType:
        """What stands in the last lines of each, so that the columns are never higher than the terminal."""
        width = max(10, self._console.width // len(self._texts) - 5)
        n_lines = max(1, self._console.height - FRAME_LINES)
        tails = []
        for name, text in self._texts.items():
            lines = text.wrap(self._console, width)
            tails.append((name, Text("\n").join(lines[-n_lines:])))
        return beside(tails, self._console.width)


def score_line(scores: Sequence[tuple[str, float, float | None, str]], total: float | None) -> Text:
    """`1 x correct 1.00 + 0.25 x format 1.00 = 1.25`; each score is (name, weight, value, why there is none)."""
    line = Text()
    for i, (name, weight, value, why) in enumerate(scores):
        line.append(" + " if i else "").append(f"{weight:g} x {name} ")
        if value is None:
            line.append("-").append(f" ({escaped(why)})", "dim")
        else:
            line.append(f"{value:.2f}", "bold")
    return line.append(f" = {total:.2f}" if total is not None and len(scores) > 1 else "")


def scores_text(by_name: Mapping[str, Text]) -> Text:
    """A line each, under the name of whose answer it is about where there are several."""
    if len(by_name) == 1:
        return next(iter(by_name.values()))
    return Text("\n").join(Text.assemble((f"{name}: ", "bold"), line) for name, line in by_name.items())
