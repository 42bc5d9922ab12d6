"""A weight that changes with the progress of training, which is `global_step / max_steps`, 0 to 1."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import RewardError

PHASE_STARTS = (0.0, 0.3, 0.7)
"""Explore up to 30 % of the run, balance to 70 %, exploit to the end."""


@dataclass(frozen=True)
class Piecewise:
    """`values[i]` from `starts[i]` on: constant in each phase."""

    values: tuple[float, ...]
    starts: tuple[float, ...] = PHASE_STARTS

    def __post_init__(self) -> None:
        in_order = list(self.starts) == sorted(set(self.starts)) and self.starts[:1] == (0.0,) and self.starts[-1] < 1
        if len(self.values) != len(self.starts) or not in_order:
            found = f"a schedule of {len(self.values)} values from {', '.join(map(str, self.starts))}"
            raise RewardError(found, "one value a phase, and starts that rise from 0 and stay below 1")
        _check(self.values)

    def __str__(self) -> str:
        pairs = zip(self.values, self.starts, strict=True)
        return f"({', '.join(f'{value:g} from {start:.0%}' for value, start in pairs)})"

    def at(self, progress: float) -> float:
        return self.values[bisect_right(self.starts, progress) - 1]


@dataclass(frozen=True)
class Linear:
    """From `start` at the beginning of the run to `end` at its end."""

    start: float
    end: float
    starts = (0.0, 1.0)

    def __post_init__(self) -> None:
        _check((self.start, self.end))

    def at(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress


def phases(explore: float, balance: float, exploit: float) -> Piecewise:
    """The preset of three phases: 0 to 30 %, 30 to 70 %, 70 to 100 % of the run."""
    return Piecewise((explore, balance, exploit))


def _check(values: tuple[float, ...]) -> None:
    if any(not 0 <= value < float("inf") for value in values):
        raise RewardError(f"a schedule with the weights {', '.join(map(str, values))}", "numbers, 0 or more")


def progress_of(trainer_state: Any) -> float:
    """How far the run is, 0 to 1; 1 without a run, so that texts are scored by the weights that a run ends with."""
    max_steps = getattr(trainer_state, "max_steps", 0)
    return min(1.0, max(0.0, trainer_state.global_step / max_steps)) if max_steps > 0 else 1.0


_EXPLORE = {"rule": 0.3, "heuristic": 0.5, "neural": 0.2}
_BALANCE = {"rule": 0.5, "heuristic": 0.3, "neural": 0.2}
_EXPLOIT = {"rule": 0.7, "heuristic": 0.2, "neural": 0.1}
WEIGHTS: dict[str, Mapping[str, float | Piecewise]] = {
    "explore": _EXPLORE,
    "balance": _BALANCE,
    "exploit": _EXPLOIT,
    "phases": {role: phases(_EXPLORE[role], _BALANCE[role], _EXPLOIT[role]) for role in _EXPLORE},
    "hybrid_70_30": {"rule": 0.7, "neural": 0.3},
    "hybrid_60_40": {"rule": 0.6, "neural": 0.4},
}
"""Weights by the name of a preset and the part's role: a rule that checks, a heuristic of form, a model's opinion.

`phases` goes from `explore` over `balance` to `exploit` during a run; the hybrids have no heuristic.
"""
