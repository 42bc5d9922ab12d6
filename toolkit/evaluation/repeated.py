"""Several completions a problem: how often one of k is right, and how often what most of k say is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from toolkit.backends.base import Generation
from toolkit.evaluation.estimators import bootstrap_interval, maj_at_k, pass_at_k
from toolkit.rewards import answers
from toolkit.rewards.answers import LAYOUTS


def at_k(
    rights_PG: Sequence[Sequence[bool]], generations_PG: Sequence[Sequence[Generation]], ks: Sequence[int],
    reward: Callable[..., Any],
) -> dict[str, Any]:  # fmt: skip
    """`pass_at_k` and, above 1, `maj_at_k` by k: `value` and its 95 % bootstrap `interval` over problems.

    `rights_PG`: whether each completion is right, n a problem.
    """
    given_PG = [[answer_of(one, reward) for one in group] for group in generations_PG]
    passes = {k: [pass_at_k(len(rights), sum(rights), k) for rights in rights_PG] for k in ks}
    majorities = {
        k: [maj_at_k(given, rights, k) for given, rights in zip(given_PG, rights_PG, strict=True)] for k in ks if k > 1
    }
    return {
        "pass_at_k": {str(k): _mean(values) for k, values in passes.items()},
        "maj_at_k": {str(k): _mean(values) for k, values in majorities.items()},
    }


def answer_of(generation: Generation, reward: Callable[..., Any]) -> str | None:
    """The answer that a completion votes for, equal texts for equal answers; None where it gives none.

    It is looked for where the reward that measures looks for it, else in any layout. Numbers are equal by their value.
    """
    layouts = getattr(reward, "layouts", LAYOUTS)
    found = answers.find_answer(generation.text, layouts, generation.is_truncated)
    if found is None or not found.strip():
        return None
    value = answers.read(found)
    return str(value) if value is not None else " ".join(found.split()).casefold()


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {"value": math.fsum(values) / len(values), "interval": bootstrap_interval(values)}
