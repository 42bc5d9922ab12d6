"""How a run is shown while it runs: a live panel in a terminal, one plain line a step anywhere else.

In a terminal the output of everything else is caught (see `display.terminal`), kept in the log file and shown dimmed
above the panel. That includes a debugger's prompt: set `TERM=dumb` to get plain lines and nothing caught.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from toolkit.display.panel import LINE_WIDTH, render, step_line
from toolkit.display.progress import Lines
from toolkit.display.state import RunState
from toolkit.display.terminal import Capture, descriptor

FRAME_S = 0.25
MAX_LINES_A_FRAME = 20  # of caught output; the log file has the rest
N_REMEMBERED = 50  # a line is not shown again while it is among the last so many


def open_view(state: RunState, console: Console, log_path: Path | None) -> View:
    """Return the view for this console, not yet entered: `LiveView` on a terminal, else `View`.

    `log_path` gets, at its end, what others write while a live view is on; None keeps no log. A console forced to be
    a terminal (`FORCE_COLOR`) that writes to a pipe gets plain lines; one that writes to memory gets a live view that
    catches nothing.
    """
    fd = descriptor(console.file)
    if not console.is_interactive or (fd is not None and not os.isatty(fd)):
        return View(state, console)
    return LiveView(state, console, log_path)


class View:
    """Plain lines: one a step, one a phase, written at once. `state` is kept up to date for whoever reads it."""

    def __init__(self, state: RunState, console: Console) -> None:
        self.state = state
        self._console = console
        self._lines = Lines(state.phase, self.say, state.clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @property
    def width(self) -> int:
        """Columns of a terminal; a file or a pipe has none, and gets lines of `LINE_WIDTH`."""
        return self._console.width if self._console.is_terminal else LINE_WIDTH

    def update(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Record a finished optimizer step and show it."""
        self.state.record(step, metrics)
        self.say(step_line(self.state, self.width))

    def phase(self, name: str) -> None:
        """Say what the run is doing from now on, for example `measuring before`."""
        self.state.enter(name)
        self._lines = Lines(name, self.say, self.state.clock)
        self.say(name)

    def progress(self, done: int, of: int) -> None:
        """The phase in progress has come so far; see `Lines` for when that is said."""
        self.state.advance(done, of)
        self._lines.told(done, of)

    def say(self, text: str) -> None:
        """Show a line by this project, as it is."""
        self._console.print(Text(text), soft_wrap=True)


class LiveView(View):
    """A panel that is redrawn four times a second, with the output of others above it.

    Only the painter thread writes to the terminal between entry and exit: rich computes where the panel stands and
    writes in two steps, so a second writer could come between them. The training thread waits for no drawing.
    """

    def __init__(self, state: RunState, console: Console, log_path: Path | None) -> None:
        super().__init__(state, console)
        self._log_path = log_path
        self._lock = threading.RLock()  # around `state` and `_said`; a signal handler may `say` while `update` holds it
        self._said: list[str] = []
        self._shown: deque[str] = deque(maxlen=N_REMEMBERED)
        self._n_hidden = 0
        self._capture: Capture | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        fd = descriptor(self._console.file)
        if fd is not None and os.name == "posix":
            self._capture = Capture(fd, self._log_path)
        try:
            self._screen = self._open_screen()
            self._live = Live(
                console=self._screen,
                get_renderable=self._panel,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)
            self._painter = threading.Thread(target=self._paint_until_ended, name="live view", daemon=True)
            self._painter.start()
        except BaseException:
            if self._capture:
                self._capture.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._capture:
                self._capture.restore()  # first: nothing below may leave a shell without its output
            self._ended.set()
            self._painter.join()
            with contextlib.suppress(OSError):  # the terminal is gone, the run is not
                self._paint()
                self._tell_hidden()
                self._live.stop()
        finally:
            if self._capture:
                self._capture.close()

    @property
    def width(self) -> int:
        return self._screen.width  # as the last frame found it; the console's own descriptors are caught

    def update(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Record a finished optimizer step; the next frame shows it."""
        with self._lock:
            self.state.record(step, metrics)

    def phase(self, name: str) -> None:
        """Say what the run is doing from now on; shown beside the progress bar."""
        with self._lock:
            self.state.enter(name)

    def progress(self, done: int, of: int) -> None:
        """The phase in progress has come so far; the next frame shows it."""
        with self._lock:
            self.state.advance(done, of)

    def say(self, text: str) -> None:
        """Show a line by this project above the panel."""
        with self._lock:
            self._said.append(text)

    def _open_screen(self) -> Console:
        """A console like the given one that writes past the capture."""
        like, capture = self._console, self._capture
        if capture is None:
            return like
        return Console(
            file=capture.screen,
            force_terminal=True,
            color_system=like.color_system,  # pyright: ignore[reportArgumentType]  (its own value, typed as str)
            no_color=like.no_color,
            highlight=False,
        )

    def _panel(self) -> RenderableType:
        if self._capture:
            # rich asks descriptors 0 to 2 for the size, and by now none of them need be a terminal
            size = os.get_terminal_size(self._capture.screen.fileno())
            self._screen.size = (size.columns or 80, size.lines or 25)
        with self._lock:
            panel = render(self.state, self._screen.width)
        bar = self._capture.unfinished if self._capture else ""
        return Group(panel, Text(bar, "dim", no_wrap=True, overflow="ellipsis")) if bar else panel

    def _paint_until_ended(self) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone, the run is not
            while not self._ended.wait(FRAME_S):
                self._paint()

    def _paint(self) -> None:
        caught = self._choose(self._capture.read_lines()) if self._capture else []
        with self._lock:
            said, self._said = self._said, []
        lines = [Text(line, "dim") for line in caught] + [Text(line) for line in said]
        if lines:
            self._screen.print(Text("\n").join(lines))
        self._live.refresh()

    def _choose(self, lines: Iterable[str]) -> list[str]:
        """The newest of the lines that were not shown lately, as many as a frame takes; the others are counted."""
        new: list[str] = []
        for line in lines:
            if line in self._shown:
                self._n_hidden += 1
            else:
                self._shown.append(line)
                new.append(line)
        self._n_hidden += len(new[:-MAX_LINES_A_FRAME])
        return new[-MAX_LINES_A_FRAME:]

    def _tell_hidden(self) -> None:
        if self._n_hidden:
            where = f", see {self._log_path}" if self._log_path else ""
            self._screen.print(Text(f"{self._n_hidden} repeated or rapid lines not shown{where}", "dim"))
