"""When a completion counts as right: the one rule for measuring before and after a run."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

from toolkit.rewards.base import RewardFunction

TOLERANCE = 1e-6
"""A sum of weights may miss its own maximum by rounding."""


def pass_mark(
    reward: Callable[..., Any], pass_score: float | None = None, scores: Iterable[float | None] = ()
) -> float | None:
    """The score from which on a completion counts as right, or None where nothing says so and only means tell anything.

    That is `pass_score` where it is given (`--pass_score`), else the highest score that the reward declares
    (`declared_range`), else 1 where 1 is among `scores`, those that it gave.
    """
    if pass_score is not None:
        return pass_score
    declared = declared_range(reward)
    if declared is not None:
        return declared[1]
    return 1.0 if 1.0 in scores else None


def is_right(score: float | None, mark: float | None) -> bool:
    """Whether a score reaches the mark; what cannot be judged does not."""
    return score is not None and mark is not None and score >= mark - TOLERANCE


def declared_range(reward: Callable[..., Any]) -> tuple[float, float] | None:
    """Lowest and highest score by the reward's own word; None where it gives none, or no finite maximum.

    A reward of this library has `range`, and so may a function: `mine.range = (0, 2)`.
    """
    reward = inspect.unwrap(reward)
    found = getattr(reward, "range", None)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        return None
    if not all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in found):
        return None
    low, high = float(found[0]), float(found[1])
    is_declared = low < high < math.inf or isinstance(reward, RewardFunction)
    return (low, high) if is_declared and math.isfinite(high) else None
