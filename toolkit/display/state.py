"""What is known of a run while it runs: the figures that the console draws."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from toolkit.findings import Finding
from toolkit.runs import metrics

NAN = math.nan
PHASES = {"rollout": metrics.ROLLOUT_S, "reward": metrics.REWARD_S, "update": metrics.UPDATE_S}
RECENT_STEPS = 10  # steps (or rounds, where one is several steps) behind "last 10", the time shares and the ETA


@dataclass
class RunState:
    """What is known of a run while it runs; filled by `record`, drawn by `render` and `step_line`.

    `history` holds one list a metric, all of one length: one value a recorded step, NaN where it had none. It covers
    this process only, so the ETA of a resumed run stands on the steps that were seen here.

    `steps_per_round`: optimizer steps that one round of rollouts feeds; the first of them is slow and the others, which
    reuse its completions, are quick, so times are compared with those at the same place of a round.
    """

    recipe: str
    model: str
    backend: str
    run_folder: str
    n_steps: int
    steps_per_round: int = 1
    step: int = 0
    phase: str = "starting"
    memory_label: str = "VRAM"
    clock: Callable[[], float] = time.monotonic
    history: dict[str, list[float]] = field(default_factory=dict)
    phases_s: dict[str, float] = field(default_factory=dict)
    """Seconds of each phase that has ended, by name, in their order."""
    findings: Sequence[Finding] = ()
    """What the health rules find now, the worst first."""
    done: int = field(default=0, init=False)
    of: int = field(default=0, init=False)
    """How far the phase has come that is counted; 0 of 0 in others."""
    n_recorded: int = field(default=0, init=False)
    started_s: float = field(init=False)
    recorded_s: float = field(init=False)
    phase_began_s: float = field(init=False)
    _last_told_s: float = field(default=0.0, init=False)
    _first_told: tuple[int, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.started_s = self.recorded_s = self.phase_began_s = self.clock()

    def enter(self, phase: str) -> None:
        """End the phase in progress and begin another."""
        now = self.clock()
        self.phases_s[self.phase] = self.phases_s.get(self.phase, 0.0) + now - self.phase_began_s
        self.phase, self.phase_began_s = phase, now
        self.done, self.of, self._first_told = 0, 0, None

    def advance(self, done: int, of: int) -> None:
        """The phase in progress has come so far."""
        self.done, self.of, self._last_told_s = done, of, self.clock()
        if self._first_told is None:  # what an earlier process did, or a slow first batch, is no measure of the pace
            self._first_told = done, self._last_told_s

    @property
    def phase_eta_s(self) -> float:
        """Seconds to the end of a phase that is counted, by the pace from its first count to its last; or NaN."""
        if self._first_told is None or self.done <= self._first_told[0]:
            return NAN
        first, first_s = self._first_told
        left_s = (self._last_told_s - first_s) / (self.done - first) * (self.of - self.done)
        return max(0.0, left_s - (self.clock() - self._last_told_s))

    def record(self, step: int, row: Mapping[str, float | None]) -> None:
        """Append the metrics of one finished optimizer step; `step` counts from 1 and becomes the current one."""
        for key in row:
            if key not in metrics.OF_SEVERAL:
                self.history.setdefault(key, [NAN] * self.n_recorded)
        for key, values in self.history.items():
            value = row.get(key)
            values.append(NAN if value is None else float(value))
        self.n_recorded += 1
        self.step, self.recorded_s = step, self.clock()

    def course(self, key: str) -> list[float]:
        """`history` of a metric; steps that reuse a round's completions have the value of the step that made them."""
        values: list[float] = []
        age = 0  # steps since the last finite value
        for value in self.history.get(key, []):
            age = 0 if math.isfinite(value) else age + 1
            values.append(values[-1] if 0 < age < self.steps_per_round and values else value)
        return values

    def latest(self, key: str) -> float:
        """The value at the last recorded step, or in its round; or NaN."""
        return next(iter(self.course(key)[-1:]), NAN)

    @property
    def n_recent(self) -> int:
        """Steps that `recent` looks back: `RECENT_STEPS`, rounded up to whole rounds."""
        return -(-RECENT_STEPS // self.steps_per_round) * self.steps_per_round

    def recent(self, key: str) -> list[float]:
        """The finite values of the last `n_recent` recorded steps."""
        return finite(self.history.get(key, [])[-self.n_recent :])

    def mean(self, key: str) -> float:
        """Mean of `recent`, or NaN."""
        return statistics.fmean(self.recent(key) or [NAN])

    @property
    def rewards(self) -> dict[str, str]:
        """Name of each reward function -> the key of its mean."""
        return metrics.reward_means(self.history)

    @property
    def step_s(self) -> float:
        """Seconds a step, averaged over the round to come (see `coming_s`), or NaN."""
        return statistics.fmean(self.coming_s())

    @property
    def eta_s(self) -> float:
        """Seconds to the last optimizer step: `coming_s` for each step left, counted down within a step; or NaN."""
        n_left = self.n_steps - self.step
        if n_left <= 0:
            return 0.0
        coming = self.coming_s()
        n_rounds, n_more = divmod(n_left, len(coming))
        in_progress_s = min(coming[0], self.clock() - self.recorded_s)
        return n_rounds * sum(coming) + sum(coming[:n_more]) - in_progress_s

    def coming_s(self) -> list[float]:
        """Expected seconds of each of the next `steps_per_round` steps; NaN before the first recorded time.

        The median of the recent steps at the same place of a round, or of all recent steps where none was there yet.
        """
        times, period = self.history.get(metrics.STEP_S, []), self.steps_per_round
        anywhere = statistics.median(self.recent(metrics.STEP_S) or [NAN])
        coming = []
        for n_back in range(period, 0, -1):  # the next step is where the one `period` steps ago was
            alike = times[len(times) - n_back :: -period] if n_back <= len(times) else []
            coming.append(statistics.median(finite(alike[:RECENT_STEPS]) or [anywhere]))
        return coming


def time_shares(state: RunState) -> dict[str, float]:
    """Shares of the recent steps' wall time by phase, the rest as `other`; they sum to 1, or none was timed."""
    spent = {name: state.mean(key) for name, key in PHASES.items()}
    spent = {name: seconds for name, seconds in spent.items() if seconds >= 0}
    total_s = max([sum(spent.values()), *finite([state.mean(metrics.STEP_S)])])
    if not spent or total_s <= 0:
        return {}
    spent["other"] = total_s - sum(spent.values())
    return {name: seconds / total_s for name, seconds in spent.items()}


def finite(values: Iterable[float]) -> list[float]:
    """The values that are numbers, in order."""
    return [value for value in values if math.isfinite(value)]
