"""Signals of what a step can teach: flat groups, truncation, rewards that never pay or cannot judge."""

from __future__ import annotations

import math
import statistics

from toolkit.control.history import LEAST, WINDOW, History
from toolkit.rewards.base import UNJUDGED
from toolkit.runs import metrics

ALL_ALIKE = 0.999
"""A share from here on is all."""


def flat(h: History) -> float | None:
    """Share of groups whose completions earned the same: ours, else TRL's, else 1 where the whole batch did."""
    for key in (metrics.NO_SIGNAL, metrics.ZERO_STD):
        if h.has(key):
            return h.now[key]
    return 1.0 if h.now.get(metrics.REWARD_STD, math.nan) <= LEAST else None


def has_risen(h: History) -> bool:
    """Whether the reward is well above its start, and near the best it has been."""
    reward = h.series.get(metrics.REWARD)
    if reward is None or reward.n < 2 * WINDOW or reward.range <= LEAST:
        return False
    recent = reward.mean() or 0.0
    gained = reward.change(reward.first) > 0.25 * reward.range
    return gained and recent >= max(reward.best_mean, recent) - 0.15 * reward.range


def is_solved(h: History) -> bool:
    """Whether groups are flat because they are right: by our split, else because the reward has risen to there."""
    if h.now.get(metrics.ALL_RIGHT, 0.0) >= ALL_ALIKE:
        return True
    right = h.series.get(metrics.ALL_RIGHT)
    if right is not None and right.n:
        if statistics.fmean(right.last[-WINDOW:]) >= 0.5:
            return True
        wrong = h.series.get(metrics.ALL_WRONG)
        if wrong is not None and wrong.n and statistics.fmean(wrong.last[-WINDOW:]) >= 0.2:
            return False
    no_signal = h.series.get(metrics.NO_SIGNAL) or h.series.get(metrics.ZERO_STD)
    return has_risen(h) and no_signal is not None and statistics.fmean(no_signal.last[-WINDOW:]) >= 0.5


def flat_mean(h: History) -> float | None:
    """Share of flat groups over the last ten rounds. Solved ones count only where there never was another."""
    key = next((key for key in (metrics.NO_SIGNAL, metrics.ZERO_STD) if h.has(key)), None)
    value = h.mean(key) if key else None
    taught = key is not None and h.series[key].low < ALL_ALIKE
    return 0.0 if value is not None and taught and is_solved(h) else value


def solved(h: History) -> float | None:
    """Share of flat groups where that is because they are right, else 0."""
    value = flat(h)
    return value if value is None or is_solved(h) else 0.0


def flat_groups(h: History) -> float | None:
    """Groups in a row that were flat, of two whole rounds at least; 0 where one was not, or all are right."""
    value = flat(h)
    if value is None:
        return None
    n_rounds = h.count("flat", value >= ALL_ALIKE and not is_solved(h))
    n_steps = max(n_rounds, h.step - h.counts.get("flat from", 0))
    if not n_rounds:
        h.counts["flat from"] = h.step
    return float(n_steps * h.context.n_groups) if n_rounds > 1 else 0.0


def none_ends(h: History) -> float | None:
    if not h.has(metrics.ENDED_LENGTH) or not h.has(metrics.TRUNCATED):
        return None
    return float(h.now[metrics.ENDED_LENGTH] == 0 and h.now[metrics.TRUNCATED] >= ALL_ALIKE)


def steps_at_bottom(h: History) -> float | None:
    """Rows in a row in which the reward is at the lowest that it has been."""
    if not h.has(metrics.REWARD):
        return None
    reward = h.series[metrics.REWARD]
    is_low = h.now[metrics.REWARD] - reward.low <= 1e-3 * reward.range and not is_solved(h)
    return float(h.count("bottom", is_low))


def never_paid(h: History) -> float | None:
    """1 where no reward function has ever given more than 0."""
    keys = h.rewards.values()
    return float(bool(keys) and all(h.series[key].high <= 0 for key in keys))


def unjudged_by(h: History) -> dict[str, float]:
    """Name of each reward function -> the share of completions of this row that it could not judge."""
    start, end = UNJUDGED.split("{}")
    found = (key for key in h.now if key.startswith(start) and key.endswith(end))
    return {key[len(start) : len(key) - len(end)]: h.now[key] for key in found}


def unjudged(h: History) -> float | None:
    """The largest share; 0 in rows with rewards that judged all, since TRL logs it only where there is one."""
    if metrics.REWARD in h.broken:
        return 1.0
    return max(unjudged_by(h).values(), default=0.0) if h.has(metrics.REWARD) else None
