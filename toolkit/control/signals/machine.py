"""Signals of the machine: memory and time."""

from __future__ import annotations

import math
import statistics

from toolkit.control.history import KEPT, WINDOW, History
from toolkit.runs import metrics

UNKNOWN_STEPS_LEFT = 1000
"""Where a run does not say how long it is to be."""


def reward_share(h: History) -> float | None:
    """Share of a step's time that rewards take."""
    reward_s, step_s = h.now.get(metrics.REWARD_S), h.now.get(metrics.STEP_S, h.now.get(metrics.TRL_STEP_S))
    return reward_s / step_s if reward_s is not None and step_s and step_s > 0 else None


def gib_per_step(h: History) -> float:
    """Growth of the peak memory a step over the last `KEPT` rows; 0 unless each third is above the one before."""
    series = h.series.get(metrics.RESERVED_GIB)
    if series is None or series.n < KEPT + WINDOW:  # the first rows warm up
        return 0.0
    third = KEPT // 3
    low, middle, high = (statistics.median(series.last[i * third : (i + 1) * third]) for i in range(3))
    grows = low < middle < high and high - low > 1e-3 * high
    return (high - low) / (2 * third) if grows else 0.0


def steps_to_full(h: History) -> float:
    """Steps until memory is full at this pace; infinite where it does not grow."""
    growth, limit = gib_per_step(h), h.context.memory_gib
    if not growth or not limit:
        return math.inf
    return max(0.0, limit - h.series[metrics.RESERVED_GIB].last[-1]) / growth


def memory_lasts(h: History) -> float | None:
    """Steps until memory is full, against those that are left."""
    if not h.has(metrics.RESERVED_GIB) or not h.context.memory_gib:
        return None
    n_left = h.context.n_steps - h.step if h.context.n_steps else UNKNOWN_STEPS_LEFT
    return steps_to_full(h) / max(1, n_left)
