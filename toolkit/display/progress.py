"""How far a long count has come: a bar in a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from toolkit.units import format_seconds

LINE_EVERY_S = 15.0
Told = Callable[[int, int], None]


@contextmanager
def progress(console: Console, what: str) -> Iterator[Told]:
    """Yield what is to be told `(done, of)`; the expected time left counts from the first that is told.

    Where the console is no terminal, the first lines come after `LINE_EVERY_S`, so that what is quick says nothing.
    """
    if not console.is_terminal:
        lines = Lines(what, lambda line: console.print(line, soft_wrap=True))
        yield lines.told
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


class Lines:
    """`measuring before: 128 of 256, eta 12s`, at most every `LINE_EVERY_S`, and none at the end."""

    def __init__(self, what: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._say, self._clock = what, say, clock
        self._began_s = self._said_s = clock()
        self._began_at: int | None = None

    def told(self, done: int, of: int) -> None:
        """Take note, and say it if it is time."""
        now = self._clock()
        if self._began_at is None:  # what a kill left behind, or the first batch, is no measure of the pace
            self._began_at, self._began_s = done, now
        if done >= of or now - self._said_s < LINE_EVERY_S:
            return
        self._said_s = now
        made = done - self._began_at
        left = format_seconds((now - self._began_s) / made * (of - done)) if made else "not known yet"
        self._say(f"{self._what}: {done:,} of {of:,}, eta {left}")
