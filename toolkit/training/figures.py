"""What a step's completions and rewards come to, in figures: kinds of groups, best and worst, variety of the text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolkit.rewards.base import RewardFunction
from toolkit.rewards.repetition import distinct, nonprintable_frac, tokens_of
from toolkit.runs import metrics as keys
from toolkit.runs.groups import Kind, kind_of
from toolkit.training.events import Round

Range = tuple[float, float]
OF_KIND: dict[Kind, str] = {
    "all right": keys.ALL_RIGHT,
    "all wrong": keys.ALL_WRONG,
    "partly right": keys.PARTLY_RIGHT,
}


class Bounds:
    """The lowest and highest score of each reward function: as it declares them, or else as they were seen so far.

    `rows`: the metrics of earlier parts of a resumed run, which carry what was seen.
    """

    def __init__(self, declared: Mapping[str, Range], rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._declared, self._seen = declared, dict[str, Range]()
        for row in rows:
            for name in keys.reward_means(row):
                self.see(name, [row.get(keys.reward_min(name)), row.get(keys.reward_max(name))])

    def see(self, name: str, scores: Iterable[float | None]) -> None:
        low, high = self._seen.get(name, (math.inf, -math.inf))
        judged = [score for score in scores if score is not None and math.isfinite(score)]
        self._seen[name] = min([low, *judged]), max([high, *judged])

    def of(self, name: str) -> Range:
        """Of one that has given a single value only: 0 or less is the lowest, 1 or more the highest."""
        if name in self._declared:
            return self._declared[name]
        low, high = self._seen.get(name, (math.inf, -math.inf))
        if low != high:
            return low, high
        return (low if low <= 0 else -math.inf), (high if high >= 1 else math.inf)


def declared_ranges(functions: Iterable[Any], names: Iterable[str]) -> dict[str, Range]:
    """The ranges of this library's rewards; another function has none to declare."""
    pairs = zip(functions, names, strict=True)
    return {name: function.range for function, name in pairs if isinstance(function, RewardFunction)}


def figures(rounds: Sequence[Round], bounds: Bounds) -> dict[str, float]:
    """The figures of one step's rounds, at least one; see `runs.metrics`."""
    return {**_of_rewards(rounds, bounds), **_of_groups(rounds, bounds), **_of_text(rounds)}


def _of_rewards(rounds: Sequence[Round], bounds: Bounds) -> dict[str, float]:
    found: dict[str, float] = {}
    for i, name in enumerate(rounds[0].reward_names):
        scores = [row[i] for done in rounds for row in done.rewards if math.isfinite(row[i])]
        bounds.see(name, scores)
        if scores:
            found |= {keys.reward_min(name): min(scores), keys.reward_max(name): max(scores)}
    return found


def _of_groups(rounds: Sequence[Round], bounds: Bounds) -> dict[str, float]:
    ends = [bounds.of(name) for name in rounds[0].reward_names]
    kinds = [kind_of(done.rewards[i : i + done.num_generations], ends) for done in rounds for i in _starts(done)]
    return {key: kinds.count(kind) / len(kinds) for kind, key in OF_KIND.items()} if kinds else {}


def _starts(done: Round) -> range:
    """Where groups begin, as TRL lays completions out."""
    return range(0, len(done.rewards), done.num_generations)


def _of_text(rounds: Sequence[Round]) -> dict[str, float]:
    texts = [row["completion"] for done in rounds for row in done.completions]
    if not texts:
        return {}
    words = [tokens_of(text, None) for text in texts]
    shares = {n: [share for text in words if (share := distinct(text, n)) is not None] for n in (1, 2)}
    alike = [
        1 - (len({row["completion"] for row in group}) - 1) / (len(group) - 1)
        for done in rounds
        for i in _starts(done)
        if len(group := done.completions[i : i + done.num_generations]) > 1
    ]
    found = {
        keys.EMPTY: sum(not text.strip() for text in texts) / len(texts),
        keys.UNPRINTABLE: statistics.fmean(map(nonprintable_frac, texts)),
    }
    several = {keys.DISTINCT_1: shares[1], keys.DISTINCT_2: shares[2], keys.IDENTICAL: alike}
    return found | {key: statistics.fmean(values) for key, values in several.items() if values}
