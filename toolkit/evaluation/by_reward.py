"""What each reward of a run gives to the completions of a measurement, beside the one verdict that is pass@1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from toolkit.data.schema import Row
from toolkit.evaluation.estimators import mean_interval
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.bench.calling import TOLERANCE, Sample, arguments, name_of
from toolkit.training.rewards import scores_of

Function = Callable[..., Any]
Scores = dict[str, float | None]
"""Of one completion, by the name of the reward; None where it cannot judge."""


def judge(rewards: Sequence[Function], rows: Sequence[Row], texts: Sequence[str], tokenizer: Any) -> list[Scores]:
    """The scores of one completion a row, each reward called as TRL calls it.

    A reward of this library whose weights change with the run's progress scores by those of the end, before as after.

    Raises:
        RewardError: one gives no score for each; what else it raises comes through.
    """
    scores: list[Scores] = [{} for _ in rows]
    if not rewards:
        return scores
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    for reward in rewards:
        given = arguments([Sample(row, text) for row, text in zip(rows, texts, strict=True)]) | {"completion_ids": ids}
        if isinstance(reward, RewardFunction):
            given = {name: value for name, value in given.items() if name != "trainer_state"}
        for of_one, score in zip(scores, scores_of(reward, given), strict=True):
            of_one[name_of(reward)] = score
    return scores


def means(rewards: Sequence[Function], scores: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """By the name of each reward: `mean`, its 95 % `interval`, and `n`, the completions that it could judge."""
    found: dict[str, dict[str, Any]] = {}
    for reward in rewards:
        values = _values(name_of(reward), scores)
        mean = math.fsum(values) / len(values) if values else None
        found[name_of(reward)] = {"mean": mean, "interval": mean_interval(values, _bounds(reward)), "n": len(values)}
    return found


def format_frac(rewards: Sequence[Function], scores: Sequence[Scores]) -> float | None:
    """The share of completions in the prompted format, by the first reward that judges format; None without one.

    That is one with `format` in its name that looks at no gold answer. A reward of this library passes a completion
    with its highest score, a function of a user's, of which that is not known, with any score above 0.
    """
    for reward in rewards:
        declared = reward if isinstance(reward, RewardFunction) else None
        if "format" in name_of(reward) and not (declared and "answer" in declared.columns):
            values = _values(name_of(reward), scores)
            passes = [value >= declared.range[1] - TOLERANCE if declared else value > 0 for value in values]
            return sum(passes) / len(passes) if passes else None
    return None


def _values(name: str, scores: Sequence[Scores]) -> list[float]:
    return [value for of_one in scores if (value := of_one[name]) is not None]


def _bounds(reward: Function) -> tuple[float, float] | None:
    return reward.range if isinstance(reward, RewardFunction) else None
