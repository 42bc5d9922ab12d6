"""Ctrl-C during training: the first finishes the round and saves, the second aborts.

The same for SIGTERM (a scheduler) and SIGHUP (a connection that is lost).
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable

from toolkit.machine import processes
from toolkit.training.events import Observer

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Stop(Observer):
    """While entered, a signal sets `requested`; a second one raises KeyboardInterrupt.

    `last_step` is the last finished step; a stop waits for a multiple of `steps_per_round` (see `Batch`).
    """

    def __init__(self, say: Callable[[str], None], last_step: int = 0, steps_per_round: int = 1) -> None:
        self.requested = False
        self.last_step = last_step
        self.steps_per_round = steps_per_round
        self._say = say
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Stop:
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal.signal returned goes back in

    def wants_stop(self, step: int) -> bool:
        """Whether a process of the run was asked to stop, at a step that can be resumed. Collective there."""
        self.last_step = step
        if step % self.steps_per_round:
            return False
        self.requested = any(processes.gather(self.requested))
        return self.requested

    def _handle(self, number: int, frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if number == signal.SIGTERM and processes.world_size() > 1:
            return  # not announced: it is also how a launcher ends a process after another one's error, told there
        step = (self.last_step // self.steps_per_round + 1) * self.steps_per_round
        with contextlib.suppress(RuntimeError):  # Python refuses a print that interrupts a print
            self._say(f"stopping after step {step}, with a checkpoint; once more to abort at once")
