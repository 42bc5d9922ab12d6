"""Signals of the update: gradient, KL, entropy, schedule."""

from __future__ import annotations

import math

from toolkit.control.history import WINDOW, History
from toolkit.control.signals.signal import ALL_ALIKE, flat, is_solved
from toolkit.runs import metrics

FIRST_WARMUP = 20
"""Rows with a learning rate of 0 from the start that may be a warm-up."""
OF_OPTIMIZER = (metrics.LOSS, metrics.GRAD_NORM, metrics.KL, metrics.ENTROPY, metrics.LEARNING_RATE)
"""What has to be a number in every row that has it. A mean over nothing, of a reward that judged none, is null."""


def zero_gradient(h: History) -> float | None:
    """2 where the gradient is exactly 0, 1 where that is because every group is flat; 0 if because all are right."""
    if not h.has(metrics.GRAD_NORM):
        return None
    if h.now[metrics.GRAD_NORM] != 0 or is_solved(h):
        return 0.0
    is_explained = (flat(h) or 0.0) >= ALL_ALIKE or h.now.get(metrics.LEARNING_RATE) == 0
    return 1.0 if is_explained else 2.0


def broken(h: History) -> float | None:
    """Rows in a row in which the gradient is no number, which happens in fp16; ten at once for anything else."""
    names = [key for key in OF_OPTIMIZER if key in h.broken]
    if not names and not any(h.has(key) for key in OF_OPTIMIZER):
        return None
    n = h.count("broken", bool(names))
    return 10.0 if set(names) - {metrics.GRAD_NORM} else float(n)


def entropy_fall(h: History) -> float | None:
    """Share by which the entropy of the last ten rows is below that of the ten before; 0 above 0.5 nats."""
    now, before = h.mean(metrics.ENTROPY), h.mean(metrics.ENTROPY, skipped=WINDOW)
    if now is None or before is None:
        return None
    return 1 - now / before if now < 0.5 and before > 0 else 0.0


def entropy_rise(h: History) -> float | None:
    """The entropy of the last ten rows, where it is a tenth above that of the ten before; else 0."""
    now, before = h.mean(metrics.ENTROPY), h.mean(metrics.ENTROPY, skipped=WINDOW)
    if now is None or before is None:
        return None
    return now if now > 1.1 * before else 0.0


def kl_idle(h: History) -> float | None:
    """Mean KL of the last ten rows, where the reward has not risen since the start. TRL logs it only with beta on."""
    value, reward = h.mean(metrics.KL), h.series.get(metrics.REWARD)
    if value is None or reward is None or reward.n < 2 * WINDOW:
        return None
    return value if reward.change(reward.first) <= 0 else math.inf


def idle_steps(h: History) -> float | None:
    """Rows in a row with a learning rate of 0; a warm-up begins with some."""
    if not h.has(metrics.LEARNING_RATE):
        return None
    n = h.count("idle", h.now[metrics.LEARNING_RATE] == 0)
    began = h.series[metrics.LEARNING_RATE].high > 0
    return float(n if began else max(0, n - FIRST_WARMUP))
