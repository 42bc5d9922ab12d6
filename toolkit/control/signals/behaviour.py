"""Signals of what the policy becomes: rewards that fall or diverge, length, held-out accuracy."""

from __future__ import annotations

import re

from toolkit.control.history import LEAST, WINDOW, History
from toolkit.runs import metrics

_OF_ANSWERS = re.compile("correct|accura", re.IGNORECASE)
HELD_OUT_LOW, HELD_OUT_HIGH, HELD_OUT_GROWTH = "held_out_low", "held_out_high", "held_out_growth"
"""What the row after the last has of a measurement before and after: interval of the gain, growth of the length."""


def reward_fall(h: History) -> float | None:
    """By what share of its range the reward of the last ten rows is below that of the ten before, beyond chance."""
    reward = h.series.get(metrics.REWARD)
    if reward is None or not h.has(metrics.REWARD) or reward.n < 2 * WINDOW:
        return None
    before = reward.last[-2 * WINDOW : -WINDOW]
    return max(0.0, -reward.change(before)) / reward.range if reward.range > LEAST else 0.0


def reward_lost(h: History) -> float | None:
    """By what share of its range the reward of the last ten rows is below the best ten before."""
    reward = h.series.get(metrics.REWARD)
    if reward is None or not h.has(metrics.REWARD) or reward.n < 2 * WINDOW + 1:
        return None
    if reward.range <= LEAST:
        return 0.0
    return max(0.0, reward.best_mean - (reward.mean() or 0.0)) / reward.range


def lost_by(h: History) -> dict[str, float]:
    """Name of each reward function -> the share of its range that it has lost since the start, beyond chance."""
    lost = {}
    for name, key in h.rewards.items():
        series = h.series[key]
        if series.n >= 2 * WINDOW and series.range > LEAST:
            lost[name] = max(0.0, -series.change(series.first)) / series.range
    return lost


def divergence(h: History) -> float | None:
    """The most that a reward function has lost while the sum rose; 0 where the sum did not."""
    reward = h.series.get(metrics.REWARD)
    if reward is None or not h.has(metrics.REWARD) or reward.n < 2 * WINDOW or len(h.rewards) < 2:
        return None
    return max(lost_by(h).values(), default=0.0) if reward.change(reward.first) > 0 else 0.0


def held_out_key(h: History) -> str:
    """What says that the policy got better: the held-out measure where the run has one (`eval_reward`, as TRL's
    evaluation logs it), else the reward for right answers, by its name, since the sum may pay for length, else the sum.
    """
    of_answers = [key for name, key in h.rewards.items() if _OF_ANSWERS.search(name)]
    measures = [*(key for key in ("eval_accuracy", "eval_reward") if key in h.series), *of_answers]
    return next(iter(measures), metrics.REWARD)


def length_share(h: History) -> float | None:
    """Mean length of the last ten rounds against that of the first ten."""
    now, lengths = h.mean(metrics.LENGTH), h.series.get(metrics.LENGTH)
    first = lengths.first_mean() if lengths else None
    return now / first if now is not None and first else None


def idle_growth(h: History) -> float | None:
    """Share by which completions are longer than at the start; 0 where the held-out measure has risen since."""
    share = length_share(h)
    measure = h.series.get(held_out_key(h))
    if share is None or measure is None or measure.n < 2:
        return None
    if measure.n >= 2 * WINDOW:
        rose = measure.change(measure.first) > 0
    else:  # a few evaluations
        rose = measure.last[-1] > measure.first[0] + 0.01 * max(1.0, abs(measure.first[0]))
    return 0.0 if rose else max(0.0, share - 1)


def accuracy_gap(h: History) -> float | None:
    """2 where held-out accuracy fell while the reward rose in training, 1 where it did not rise beyond chance; else 0.

    For the row that `held_out` makes.
    """
    reward = h.series.get(metrics.REWARD)
    if not h.has(HELD_OUT_LOW) or not h.has(HELD_OUT_HIGH) or reward is None or reward.n < 2 * WINDOW:
        return None
    if reward.change(reward.first) <= 0 or h.now[HELD_OUT_LOW] > 0:
        return 0.0
    return 2.0 if h.now[HELD_OUT_HIGH] < 0 else 1.0


def held_out_growth(h: History) -> float | None:
    """Share by which held-out completions grew longer, where accuracy did not rise beyond chance; else 0."""
    growth, low = h.now.get(HELD_OUT_GROWTH), h.now.get(HELD_OUT_LOW)
    if growth is None or low is None:
        return None
    return growth if low <= 0 else 0.0
