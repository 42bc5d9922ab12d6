"""A run's metrics as the rules see them: numbers by key, row by row, whatever the rows hold."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.runs import metrics

WINDOW = 10
"""Rows behind "the last ten": steps, where every step is logged."""
KEPT = 40
"""Values of each metric that are kept, beside the first `WINDOW` and the extremes."""
LEAST = 1e-9
"""A difference below this share is none."""

# How older releases of TRL, and tables copied from a notebook, spell a key
ALIASES = {"completion_length": metrics.LENGTH, "clip_ratio": metrics.CLIPPED}
_OLD_REWARD = re.compile(r"rewards/[^/]+")


@dataclass(frozen=True)
class Context:
    """What the rows do not say of a run; None where it is not known."""

    memory_gib: float | None = None
    """What the card has, or the machine without one."""
    n_steps: int | None = None
    """Optimizer steps that the run is to take."""
    n_groups: float = 1
    """Groups of completions that are sampled for each step, one prompt each; 1 where it is not known."""


@dataclass
class Series:
    """One metric: its first values, its last ones, how many there were, and the extremes of the finite ones."""

    first: list[float]
    last: list[float]
    n: int = 0
    low: float = math.inf
    high: float = -math.inf
    best_mean: float = -math.inf
    """Highest mean of `WINDOW` values in a row, the last `WINDOW` values left out."""

    def add(self, value: float) -> None:
        if self.n >= 2 * WINDOW:
            self.best_mean = max(self.best_mean, statistics.fmean(self.last[-2 * WINDOW : -WINDOW]))
        if self.n < WINDOW:
            self.first.append(value)
        self.last.append(value)
        del self.last[:-KEPT]
        self.n += 1
        self.low, self.high = min(self.low, value), max(self.high, value)

    @property
    def range(self) -> float:
        return self.high - self.low

    def mean(self, n: int = WINDOW, skipped: int = 0) -> float | None:
        """Mean of the last `n` values but for the newest `skipped`; None where there are fewer."""
        end = len(self.last) - skipped
        return statistics.fmean(self.last[end - n : end]) if 0 < n <= end else None

    def first_mean(self) -> float | None:
        """Mean of the first `WINDOW` values, once as many have come since."""
        return statistics.fmean(self.first) if self.n >= 2 * WINDOW else None

    def change(self, reference: list[float]) -> float:
        """How much the last `WINDOW` values lie above others; 0 where it may be chance (three standard errors)."""
        recent = self.last[-WINDOW:]
        difference = statistics.fmean(recent) - statistics.fmean(reference)
        error = math.sqrt(sum(statistics.pvariance(part) / len(part) for part in (recent, reference)))
        return difference if abs(difference) > max(3 * error, LEAST * max(map(abs, recent))) else 0.0


class History:
    """What has been fed, in memory that does not grow with the run."""

    def __init__(self, context: Context | None = None) -> None:
        self.context = context or Context()
        self.series: dict[str, Series] = {}
        self.now: dict[str, float] = {}
        """The finite numbers of the newest row, by TRL's present key."""
        self.broken: list[str] = []
        """Keys of the newest row that are there without a finite number."""
        self.step = 0
        self.counts: dict[str, int] = {}
        """Rows in a row up to now of what `control.signals` counts."""
        self._step_s: list[float] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row; what is no number is passed over, but for being named in `broken`."""
        values = {name: _number(value) for key, value in row.items() if (name := _key(key)) is not None}
        self.step = _step(row.get(metrics.STEP), self.step)
        self.now = {key: value for key, value in values.items() if value is not None and abs(value) < HUGE}
        self.broken = [key for key in values if key not in self.now and _is_missing(row, key)]
        for key, value in self.now.items():
            self.series.setdefault(key, Series([], [])).add(value)

    def has(self, key: str) -> bool:
        """Whether the newest row has it."""
        return key in self.now

    def mean(self, key: str, skipped: int = 0) -> float | None:
        """Mean of the last `WINDOW` values; None with fewer, or where the newest row has none."""
        return self.series[key].mean(skipped=skipped) if key in self.now else None

    def count(self, name: str, holds: bool) -> int:
        """Rows in a row up to this one in which `holds`; to be asked once a row."""
        self.counts[name] = self.counts.get(name, 0) + 1 if holds else 0
        return self.counts[name]

    @property
    def rewards(self) -> dict[str, str]:
        """Name of each reward function -> the key of its mean."""
        return metrics.reward_means(self.series)


HUGE = 1e150
"""From here on squares overflow: a value as large as this is as good as infinite."""


def _key(key: Any) -> str | None:
    """TRL's present key for one that is watched; None for what is no key."""
    if not isinstance(key, str):
        return None
    name = key.replace(" / ", "/")
    return f"{name}/mean" if _OLD_REWARD.fullmatch(name) else ALIASES.get(name, name)


def _number(value: Any) -> float | None:
    """A value as a finite float; None for all else."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_missing(row: Mapping[str, Any], key: str) -> bool:
    """Whether a row has a key for a number, and no number under it: null, NaN, infinite, `"nan"`."""
    value = row.get(key)
    return value is None or (isinstance(value, (int, float, str)) and not isinstance(value, bool))


def _step(value: Any, before: int) -> int:
    number = _number(value)
    return int(number) if number is not None and abs(number) < HUGE else before + 1
