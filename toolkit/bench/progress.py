"""How far a sweep is: one line a cell that stays, and on a terminal a last line that counts down."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.live import Live
from rich.text import Text

from toolkit.display.console import console
from toolkit.units import format_seconds

REFRESHES_PER_S = 2


@dataclass
class Progress:
    """Cells done and to come. What is left is the mean of the cells so far for each, counted down within one."""

    n_cells: int
    """All of the sweep."""
    n_kept: int
    """Of them, those that an earlier sweep has finished."""
    clock: Callable[[], float] = time.monotonic
    name: str = ""
    taken_s: list[float] = field(default_factory=list)
    began_s: float = 0.0

    def begin(self, name: str) -> None:
        """A cell starts."""
        self.name, self.began_s = name, self.clock()

    def end(self) -> None:
        """It is done, however it ended."""
        self.taken_s.append(self.clock() - self.began_s)
        self.name = ""

    @property
    def n_done(self) -> int:
        return self.n_kept + len(self.taken_s)

    @property
    def left_s(self) -> float | None:
        """Seconds to the end of the sweep; None before one cell is done."""
        if not self.taken_s:
            return None
        mean = statistics.fmean(self.taken_s)
        spent = min(mean, self.clock() - self.began_s) if self.name else 0.0
        return max(0.0, mean * (self.n_cells - self.n_done) - spent)

    def left(self) -> str:
        """`; about 3m 20s left`, or nothing."""
        seconds = self.left_s
        return f"; about {format_seconds(seconds)} left" if seconds else ""

    def __rich__(self) -> Text:
        spent = format_seconds(self.clock() - self.began_s)
        line = f"[{self.n_done + 1}/{self.n_cells}] {self.name}: {spent}{self.left()}"
        return Text(line if self.name else "", "dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def shown(progress: Progress, *, on_screen: bool) -> Iterator[None]:
    """Draw it below what is said, where that is a terminal; in a pipe there are the lines alone."""
    if not (on_screen and console.is_terminal):
        yield
        return
    with Live(progress, console=console, refresh_per_second=REFRESHES_PER_S, transient=True):
        yield
