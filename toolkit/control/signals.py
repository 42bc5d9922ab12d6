"""The signals of the rules, by name: each a figure of the newest row and those before it, or None where it has none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping

from toolkit.control.history import KEPT, LEAST, WINDOW, History
from toolkit.rewards.base import UNJUDGED
from toolkit.runs import metrics

Signal = Callable[[History], float | None]
ALL_ALIKE = 0.999
"""A share from here on is all."""
UNKNOWN_STEPS_LEFT = 1000
"""Where a run does not say how long it is to be."""
HELD_OUT_LOW, HELD_OUT_HIGH, HELD_OUT_GROWTH = "held_out_low", "held_out_high", "held_out_growth"
"""What the row after the last has of a measurement before and after: interval of the gain, growth of the length."""
FIRST_WARMUP = 20
"""Rows with a learning rate of 0 from the start that may be a warm-up."""
OF_OPTIMIZER = (metrics.LOSS, metrics.GRAD_NORM, metrics.KL, metrics.ENTROPY, metrics.LEARNING_RATE)
"""What has to be a number in every row that has it. A mean over nothing, of a reward that judged none, is null."""


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


def _unsolved(signal: Signal, calm: float) -> Signal:
    """The signal, or `calm` once the problems are solved."""

    def asked(h: History) -> float | None:
        value = signal(h)
        return calm if value is not None and is_solved(h) else value

    return asked


def _now(key: str) -> Signal:
    return lambda h: h.now.get(key)


def _mean(key: str) -> Signal:
    return lambda h: h.mean(key)


def _of_rewards(signal: Signal) -> Signal:
    """For runs with rewards only: supervised training has an entropy, too."""
    return lambda h: signal(h) if metrics.REWARD in h.series else None


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
    """The held-out measure where the run has one (`eval_reward`, as TRL's evaluation logs it), else the reward."""
    return next((key for key in ("eval_accuracy", "eval_reward") if key in h.series), metrics.REWARD)


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


def never_paid(h: History) -> float | None:
    """1 where no reward function has ever given more than 0."""
    keys = h.rewards.values()
    return float(bool(keys) and all(h.series[key].high <= 0 for key in keys))


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


SIGNALS: Mapping[str, Signal] = {
    "truncated": _now(metrics.TRUNCATED),
    "none_ends": none_ends,
    "flat": flat,
    "flat_groups": flat_groups,
    "flat_mean": flat_mean,
    "solved": solved,
    "partly_flat": _now(metrics.PARTLY_RIGHT),
    "never_paid": never_paid,
    "steps_at_bottom": steps_at_bottom,
    "unjudged": unjudged,
    "identical": _now(metrics.IDENTICAL),
    "identical_unsolved": _unsolved(_now(metrics.IDENTICAL), 0.0),
    "zero_gradient": zero_gradient,
    "broken": broken,
    "kl": _now(metrics.KL),
    "kl_mean": _mean(metrics.KL),
    "kl_idle": kl_idle,
    "entropy_mean": _of_rewards(_unsolved(_mean(metrics.ENTROPY), math.inf)),
    "entropy_fall": _of_rewards(_unsolved(entropy_fall, 0.0)),
    "entropy_rise": _of_rewards(entropy_rise),
    "clipped": _now(metrics.CLIPPED),
    "idle_steps": idle_steps,
    "logp_difference": _now(metrics.LOGP_DIFFERENCE),
    "is_ratio_min": _now(metrics.IS_RATIO_MIN),
    "parity": _now(metrics.PARITY_LEVEL),
    "reward_fall": reward_fall,
    "reward_lost": reward_lost,
    "divergence": divergence,
    "idle_growth": _of_rewards(idle_growth),
    "length_share": _of_rewards(length_share),
    "distinct_1": _now(metrics.DISTINCT_1),
    "distinct_2": _now(metrics.DISTINCT_2),
    "unprintable": _now(metrics.UNPRINTABLE),
    "empty": _now(metrics.EMPTY),
    "memory_lasts": memory_lasts,
    "reward_share": reward_share,
    "accuracy_gap": accuracy_gap,
    "held_out_growth": held_out_growth,
    "foreign_gib": _now(metrics.FOREIGN_GIB),
}


def facts(h: History) -> dict[str, float | str]:
    """What the texts of rules may name beside `value` and `observations`."""
    zero = [name for name, key in h.rewards.items() if h.series[key].low == h.series[key].high == 0]
    lost = lost_by(h)
    return {
        "longest": _shown(h, metrics.LONGEST) or _shown(h, metrics.LENGTH) or "the limit of",
        "flat_rounds": h.counts.get("flat", 0),
        "kinds": kinds(h),
        "always_zero": f"; always 0: {', '.join(zero)}" if zero else "",
        "reward": h.now.get(metrics.REWARD, math.nan),
        "entropy": h.mean(metrics.ENTROPY) or math.nan,
        "broken": ", ".join(key for key in OF_OPTIMIZER if key in h.broken) or "a figure",
        "unjudged": max(unjudged_by(h), key=lambda name: unjudged_by(h)[name], default="function"),
        "diverging": max(lost, key=lambda name: lost[name], default=""),
        "measure": held_out_key(h).replace("_", " "),
        "mib_per_step": 1024 * gib_per_step(h),
        "steps_to_full": steps_to_full(h),
        "gain": f"{h.now.get(HELD_OUT_LOW, 0):+.1%} to {h.now.get(HELD_OUT_HIGH, 0):+.1%}",
    }


def kinds(h: History) -> str:
    """` (75% all wrong, 25% all partial)` of the groups of this row; empty where the split is not known."""
    words = {metrics.ALL_RIGHT: "all right", metrics.ALL_WRONG: "all wrong", metrics.PARTLY_RIGHT: "all partial"}
    shares = [f"{h.now[key]:.0%} {word}" for key, word in words.items() if h.now.get(key, 0) > 0]
    return f" ({', '.join(shares)})" if shares else ""


def _shown(h: History, key: str) -> str:
    return f"{h.now[key]:.0f}" if h.has(key) else ""
