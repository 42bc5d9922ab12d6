"""Metric series: of a sound run, and one made for each rule. What a thread reports is in `test_known_failures`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from toolkit.control.history import Context
from toolkit.control.signals.behaviour import HELD_OUT_GROWTH, HELD_OUT_HIGH, HELD_OUT_LOW

Row = dict[str, Any]
Value = Any


def noise(i: int) -> float:
    """Between -1 and 1, the same at every call."""
    return math.sin(12.9898 * i) * math.cos(78.233 * i)


def sound(n: int = 60, **changes: Value | Callable[[int], Value]) -> list[Row]:
    """A run that learns; `changes` replaces a metric by a value or a function of the row, counted from 1.

    In names of changes `__` stands for `/`.
    """
    rows = []
    for i in range(1, n + 1):
        done = i / n
        row: Row = {
            "step": i,
            "loss": 0.01 * noise(i),
            "grad_norm": 0.2 + 0.05 * noise(i),
            "learning_rate": 1e-5,
            "completions/mean_length": 200 + 5 * noise(i),
            "completions/max_length": 512.0,
            "completions/clipped_ratio": 0.05,
            "completions/mean_terminated_length": 190.0,
            "rewards/correct/mean": 0.2 + 0.5 * done + 0.02 * noise(i),
            "rewards/format/mean": 0.6 + 0.3 * done,
            "reward": 0.35 + 0.6 * done + 0.02 * noise(i),
            "reward_std": 0.4,
            "frac_reward_zero_std": 0.25,
            "entropy": 0.6 - 0.1 * done,
            "clip_ratio/region_mean": 0.02,
            "kl": 0.05,
            "time/step_s": 10.0,
            "time/reward_s": 0.1,
            "memory/peak_gib": 12.0,
            "completions/identical_frac": 0.1,
            "completions/distinct_1": 0.4,
            "completions/distinct_2": 0.7,
            "completions/empty_frac": 0.0,
            "completions/unprintable_frac": 0.0,
            "sampling/sampling_logp_difference/mean": 0.01,
            "sampling/importance_sampling_ratio/min": 0.5,
        }
        for name, value in changes.items():
            row[name.replace("__", "/")] = value(i) if callable(value) else value
        rows.append(row)
    return rows


def of_held_out(low: float, high: float, growth: float) -> list[Row]:
    return [*sound(), {"step": 60, HELD_OUT_LOW: low, HELD_OUT_HIGH: high, HELD_OUT_GROWTH: growth}]


def after(step: int, value: Value, before: Value) -> Callable[[int], Value]:
    return lambda i: value if i > step else before


NO_REWARD: Mapping[str, Any] = {
    "reward": 0.0,
    "reward_std": 0.0,
    "rewards__correct__mean": 0.0,
    "rewards__format__mean": 0.0,
    "frac_reward_zero_std": 1.0,
    "groups__zero_std_frac": 1.0,
    "groups__all_right_frac": 0.0,
    "groups__all_wrong_frac": 1.0,
    "groups__partly_right_frac": 0.0,
    "grad_norm": 0.0,
}
SOLVED = {
    "reward": 1.25,
    "reward_std": 0.0,
    "groups__zero_std_frac": 1.0,
    "groups__all_right_frac": 1.0,
    "frac_reward_zero_std": 1.0,
}

MADE_FOR: Mapping[str, list[Row]] = {
    "R01": sound(10, completions__clipped_ratio=0.97),
    "R02": sound(10, completions__clipped_ratio=1.0, completions__mean_terminated_length=0.0),
    "R26": sound(3, **NO_REWARD),
    "R03": sound(30, frac_reward_zero_std=lambda i: 0.875 if i % 10 == 0 else 1.0),
    "R27": sound(12, **SOLVED),
    "R04": sound(25, reward=-1.0, reward_std=0.1),
    "R36": sound(5, **{"unjudged/correct_frac": 0.95}),
    "R22": sound(10, completions__identical_frac=1.0),
    "R05": sound(10, grad_norm=0.0, loss=0.0),
    "R06": sound(10, loss=after(5, math.nan, 0.01)),
    "R08": sound(30, kl=lambda i: 0.1 * i),
    "R30": sound(10, kl=after(6, 25.0, 0.1)),
    "R31": sound(50, kl=0.002, reward=lambda i: 0.4 + 0.01 * noise(i)),
    "R07": sound(30, entropy=0.004),
    "R28": sound(40, entropy=lambda i: 0.9 * 0.95**i),
    "R29": sound(40, entropy=lambda i: 0.5 + 0.06 * i),
    "R09": sound(20, clip_ratio__region_mean=0.75),
    "R21": sound(20, learning_rate=after(10, 0.0, 1e-5)),
    "R10": sound(10, sampling__sampling_logp_difference__mean=1.4),
    "R11": sound(10, sampling__importance_sampling_ratio__min=0.01),
    "R16": sound(10, **{"parity/level": after(5, 2.0, 0.0)}),
    "R34": sound(40, reward=lambda i: (0.9 if i <= 20 else 0.6) + 0.02 * noise(i)),
    "R39": sound(60, reward=lambda i: (0.9 if i <= 30 else 0.1) + 0.02 * noise(i)),
    "R35": sound(60, rewards__correct__mean=lambda i: 0.7 - 0.006 * i),
    # The sum rises, as another reward pays for length
    "R12": sound(
        60, completions__mean_length=lambda i: 200 + 8.0 * i, rewards__correct__mean=lambda i: 0.4 + 0.02 * noise(i)
    ),
    "R40": of_held_out(-0.08, -0.01, 0.0),
    "R41": of_held_out(-0.02, 0.03, 1.4),
    "R37": sound(60, completions__mean_length=lambda i: max(4.0, 200 - 5.0 * i)),
    "R13": sound(10, completions__distinct_2=0.05),
    "R32": sound(10, completions__distinct_1=0.01),
    "R33": sound(10, completions__unprintable_frac=0.3),
    "R38": sound(10, completions__empty_frac=0.8),
    "R14": sound(100, memory__peak_gib=lambda i: 12 + 0.1 * i),
    "R15": sound(20, time__reward_s=9.0),
    "R23": sound(10, **{"memory/foreign_gib": 2.5}),
}
CONTEXT = Context(memory_gib=24.0, n_steps=500, n_groups=8)
