"""Kept completions judged once more, by a reward that the run did not have: for who wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.errors import RewardError
from toolkit.rewards.bench.calling import Sample, arguments
from toolkit.rewards.completions import FINISH_REASON
from toolkit.rewards.target import find
from toolkit.training.rewards import Scores, scores_of

Row = Mapping[str, Any]


def scored(pairs: Sequence[tuple[Row, Row]], reward: str) -> tuple[Scores, Scores]:
    """What the reward of this name gives the completions of both sides, each side in one call.

    Raises:
        RewardError: there is no such reward, it needs a column that kept completions do not have, or it has no server.
    """
    target = find(reward)
    kept = {name for pair in pairs for row in pair for name in row} | {"question", "prompts"}
    missing = [name for name in target.columns if name not in kept]
    if missing:
        found = f"--reward {target.name} reads a column {missing[0]!r}, which completions are not kept with"
        raise RewardError(found, f"a reward of {', '.join(sorted(kept & {'prompt', 'question', 'answer'}))}")
    sides = [[_sample(row) for row in side] for side in zip(*pairs, strict=True)]
    if target.declared is not None and (why := target.declared.unavailable(sides[0][0].row)):
        raise RewardError(f"--reward {target.name} gives no scores: {why}", "an answer for each row")
    first, second = (_of(target.function, side) for side in sides)
    return first, second


def _sample(row: Row) -> Sample:
    """A row as rewards get it: its prompt as messages, and the question that it is."""
    asked = str(row.get("prompt") or "")
    prompt = [{"role": "user", "content": asked}]
    told = {"prompt": prompt, "question": asked, "answer": row.get("answer"), FINISH_REASON: row.get(FINISH_REASON)}
    return Sample(told, str(row["completion"]))


def _of(function: Any, side: Sequence[Sample]) -> Scores:
    return scores_of(function, arguments(side))
