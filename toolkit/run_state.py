"""What is known of a run while it runs: the figures that the console draws."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

NAN = math.nan
RECENT_STEPS = 10  # steps behind "last 10", the time shares and the median that the ETA is made of


@dataclass
class RunState:
    """What is known of a run while it runs; filled by `record`, drawn by `render` and `step_line`.

    `history` holds one list a metric, all of one length: one value a recorded step, NaN where it had none. It covers
    this process only, so the ETA of a resumed run stands on the steps that were seen here.
    """

    recipe: str
    model: str
    backend: str
    run_folder: str
    n_steps: int
    step: int = 0
    phase: str = "starting"
    memory_label: str = "VRAM"
    clock: Callable[[], float] = time.monotonic
    history: dict[str, list[float]] = field(default_factory=dict)
    n_recorded: int = field(default=0, init=False)
    started_s: float = field(init=False)
    recorded_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.recorded_s = self.clock()

    def record(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Append the metrics of one finished optimizer step; `step` counts from 1 and becomes the current one."""
        for key in metrics:
            self.history.setdefault(key, [NAN] * self.n_recorded)
        for key, values in self.history.items():
            value = metrics.get(key)
            values.append(NAN if value is None else float(value))
        self.n_recorded += 1
        self.step, self.recorded_s = step, self.clock()

    def latest(self, key: str) -> float:
        """The value at the last recorded step, or NaN."""
        return self.history[key][-1] if self.history.get(key) else NAN

    def recent(self, key: str) -> list[float]:
        """The finite values of the last recorded steps, at most `RECENT_STEPS`."""
        return finite(self.history.get(key, [])[-RECENT_STEPS:])

    def mean(self, key: str) -> float:
        """Mean of `recent`, or NaN."""
        return statistics.fmean(self.recent(key) or [NAN])

    @property
    def rewards(self) -> dict[str, str]:
        """Name of each reward function -> the key of its mean."""
        parts = {key: key.split("/") for key in self.history}
        return {part[1]: key for key, part in parts.items() if len(part) == 3 and part[::2] == ["rewards", "mean"]}

    @property
    def elapsed_s(self) -> float:
        """Seconds since this process began the run."""
        return self.clock() - self.started_s

    @property
    def step_s(self) -> float:
        """Median of the recent step times in seconds, or NaN."""
        return statistics.median(self.recent("time/step_s") or [NAN])

    @property
    def eta_s(self) -> float:
        """Seconds to the last optimizer step: `step_s` x steps left, counted down within a step; or NaN."""
        n_left = self.n_steps - self.step
        if n_left <= 0:
            return 0.0
        return self.step_s * (n_left - 1) + max(0.0, self.step_s - (self.clock() - self.recorded_s))


def time_shares(state: RunState) -> dict[str, float]:
    """Shares of the recent steps' wall time by phase, summing to 1; empty when no phase was timed.

    What the phases leave of `time/step_s` is `other`.
    """
    spent = {name: state.mean(f"time/{name}_s") for name in ("rollout", "reward", "update")}
    spent = {name: seconds for name, seconds in spent.items() if seconds >= 0}
    total_s = max([sum(spent.values()), *finite([state.mean("time/step_s")])])
    if not spent or total_s <= 0:
        return {}
    spent["other"] = total_s - sum(spent.values())
    return {name: seconds / total_s for name, seconds in spent.items()}


def finite(values: Iterable[float]) -> list[float]:
    """The values that are numbers, in order."""
    return [value for value in values if math.isfinite(value)]
