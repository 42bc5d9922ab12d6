"""The signals of the rules, by name: each a figure of the newest row and those before it, or None where it has none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from toolkit.control.history import History
from toolkit.control.signals import behaviour, machine, optimisation, signal
from toolkit.runs import metrics

Signal = Callable[[History], float | None]


def _unsolved(figure: Signal, calm: float) -> Signal:
    """The signal, or `calm` once the problems are solved."""

    def asked(h: History) -> float | None:
        value = figure(h)
        return calm if value is not None and signal.is_solved(h) else value

    return asked


def _now(key: str) -> Signal:
    return lambda h: h.now.get(key)


def _mean(key: str) -> Signal:
    return lambda h: h.mean(key)


def _of_rewards(figure: Signal) -> Signal:
    """For runs with rewards only: supervised training has an entropy, too."""
    return lambda h: figure(h) if metrics.REWARD in h.series else None


SIGNALS: Mapping[str, Signal] = {
    "truncated": _now(metrics.TRUNCATED),
    "none_ends": signal.none_ends,
    "flat": signal.flat,
    "flat_groups": signal.flat_groups,
    "flat_mean": signal.flat_mean,
    "solved": signal.solved,
    "partly_flat": _now(metrics.PARTLY_RIGHT),
    "never_paid": signal.never_paid,
    "steps_at_bottom": signal.steps_at_bottom,
    "unjudged": signal.unjudged,
    "identical": _now(metrics.IDENTICAL),
    "identical_unsolved": _unsolved(_now(metrics.IDENTICAL), 0.0),
    "zero_gradient": optimisation.zero_gradient,
    "broken": optimisation.broken,
    "kl": _now(metrics.KL),
    "kl_mean": _mean(metrics.KL),
    "kl_idle": optimisation.kl_idle,
    "entropy_mean": _of_rewards(_unsolved(_mean(metrics.ENTROPY), math.inf)),
    "entropy_fall": _of_rewards(_unsolved(optimisation.entropy_fall, 0.0)),
    "entropy_rise": _of_rewards(optimisation.entropy_rise),
    "clipped": _now(metrics.CLIPPED),
    "idle_steps": optimisation.idle_steps,
    "logp_difference": _now(metrics.LOGP_DIFFERENCE),
    "is_ratio_min": _now(metrics.IS_RATIO_MIN),
    "parity": _now(metrics.PARITY_LEVEL),
    "reward_fall": behaviour.reward_fall,
    "reward_lost": behaviour.reward_lost,
    "divergence": behaviour.divergence,
    "idle_growth": _of_rewards(behaviour.idle_growth),
    "length_share": _of_rewards(behaviour.length_share),
    "distinct_1": _now(metrics.DISTINCT_1),
    "distinct_2": _now(metrics.DISTINCT_2),
    "unprintable": _now(metrics.UNPRINTABLE),
    "empty": _now(metrics.EMPTY),
    "memory_lasts": machine.memory_lasts,
    "reward_share": machine.reward_share,
    "accuracy_gap": behaviour.accuracy_gap,
    "held_out_growth": behaviour.held_out_growth,
    "foreign_gib": _now(metrics.FOREIGN_GIB),
}


def facts(h: History) -> dict[str, float | str]:
    """What the texts of rules may name beside `value` and `observations`."""
    zero = [name for name, key in h.rewards.items() if h.series[key].low == h.series[key].high == 0]
    lost = behaviour.lost_by(h)
    return {
        "longest": _shown(h, metrics.LONGEST) or _shown(h, metrics.LENGTH) or "the limit of",
        "flat_rounds": h.counts.get("flat", 0),
        "kinds": kinds(h),
        "always_zero": f"; always 0: {', '.join(zero)}" if zero else "",
        "reward": h.now.get(metrics.REWARD, math.nan),
        "entropy": h.mean(metrics.ENTROPY) or math.nan,
        "broken": ", ".join(key for key in optimisation.OF_OPTIMIZER if key in h.broken) or "a figure",
        "unjudged": max(signal.unjudged_by(h), key=lambda name: signal.unjudged_by(h)[name], default="function"),
        "diverging": max(lost, key=lambda name: lost[name], default=""),
        "measure": behaviour.held_out_key(h).replace("_", " "),
        "mib_per_step": 1024 * machine.gib_per_step(h),
        "steps_to_full": machine.steps_to_full(h),
        "gain": f"{h.now.get(behaviour.HELD_OUT_LOW, 0):+.1%} to {h.now.get(behaviour.HELD_OUT_HIGH, 0):+.1%}",
    }


def kinds(h: History) -> str:
    """` (75% all wrong, 25% all partial)` of the groups of this row; empty where the split is not known."""
    words = {metrics.ALL_RIGHT: "all right", metrics.ALL_WRONG: "all wrong", metrics.PARTLY_RIGHT: "all partial"}
    shares = [f"{h.now[key]:.0%} {word}" for key, word in words.items() if h.now.get(key, 0) > 0]
    return f" ({', '.join(shares)})" if shares else ""


def _shown(h: History, key: str) -> str:
    return f"{h.now[key]:.0f}" if h.has(key) else ""
