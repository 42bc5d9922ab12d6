"""`toolkit reward try`: completions with the scores that they should get, in YAML.

```yaml
rewards: [correct, format]         # names of `toolkit reward list`, rubric:FILE.yaml, MODULE:FUNCTION, FILE.py:FUNCTION
columns: {answer: "18"}            # what the dataset has beside every case's completion; a case may say otherwise
cases:
  - name: right, and in the format
    completion: "..."
    columns: {answer: "18"}
    expect: {correct: 1, format: [0.9, 1.0]}   # a score, a range, or null for "cannot judge"
```

A part of a composition is `NAME/PART`, for example `r1_bundle/steps`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.errors import RewardError, did_you_mean
from toolkit.files import read_yaml
from toolkit.rewards.bench.calling import TOLERANCE, Sample, reason, score
from toolkit.rewards.composition import Composition
from toolkit.rewards.table_file import Reader
from toolkit.rewards.target import Target, find

Expected = tuple[float, float] | None
"""Lowest and highest score that passes; None: it cannot be judged."""


@dataclass(frozen=True)
class Case:
    name: str
    completion: str
    columns: Mapping[str, Any]
    expect: Mapping[str, Expected]


@dataclass(frozen=True)
class Tried:
    case: str
    part: str
    score: float | None
    expected: Expected
    reason: str = ""
    """Why the reward gave that score, where it can say so; or what it raised."""
    error: bool = False

    @property
    def passed(self) -> bool:
        if self.score is None or self.expected is None:
            return self.score is self.expected and not self.error
        low, high = self.expected
        return low - TOLERANCE <= self.score <= high + TOLERANCE


def try_cases(path: Path, *, allow_unsafe_code: bool = False) -> list[Tried]:
    """Score every case and compare it with what it expects; a RewardError names the place that is no case."""
    table = read_yaml(path, str(path), "a YAML file with `rewards` and `cases`", RewardError)
    targets, cases = _Reader(str(path), allow_unsafe_code).read(table)
    return [tried for case in cases for tried in _try(case, targets)]


def _try(case: Case, targets: Mapping[str, Target]) -> Iterator[Tried]:
    sample = Sample({"prompt": "", **case.columns}, case.completion)
    for part, expected in case.expect.items():
        name, _, of = (part, "", "") if part in targets else part.partition("/")
        target = targets[name]
        function = target.function
        if of and isinstance(function, Composition):
            function = partial(_part, function, of)
        outcome = score(function, [sample])
        if outcome.fault:
            yield Tried(case.name, part, None, expected, outcome.fault, error=True)
        else:
            why = "" if of else reason(target.declared, sample)
            yield Tried(case.name, part, outcome.scores[0], expected, why)


def _part(composition: Composition, name: str, /, **given: Any) -> list[float | None]:
    return composition.breakdown(**given)[name]


@dataclass(frozen=True)
class _Reader(Reader):
    allow_unsafe_code: bool

    def read(self, table: Any) -> tuple[dict[str, Target], list[Case]]:
        """The rewards by name and the cases, checked whole before anything is scored."""
        keys = self.keys(table, "", ("rewards", "columns", "cases"), ("rewards", "cases"))
        listed = [self.text(name, "rewards") for name in self._list(keys["rewards"], "rewards")]
        targets = {name: find(name, allow_unsafe_code=self.allow_unsafe_code) for name in listed}
        parts = [
            f"{name}/{part.name}"
            for name, target in targets.items()
            if isinstance(target.function, Composition)
            for part in target.function.parts
        ]
        shared = self._columns(keys.get("columns", {}), "columns")
        cases = [
            self._case(case, f"cases[{i}]", shared, [*targets, *parts])
            for i, case in enumerate(self._list(keys["cases"], "cases"), start=1)
        ]
        return targets, cases

    def _case(self, table: Any, where: str, shared: Mapping[str, Any], parts: Sequence[str]) -> Case:
        keys = self.keys(table, where, ("name", "completion", "columns", "expect"), ("name", "completion", "expect"))
        name = self.text(keys["name"], f"{where}.name")
        completion, expect = keys["completion"], keys["expect"]
        self.checked(completion, isinstance(completion, str), f"{where}.completion", "text")
        is_table = isinstance(expect, dict) and bool(expect)
        for part in self.checked(expect, is_table, f"{where}.expect", "a score for each reward"):
            if part not in parts:
                known = did_you_mean(str(part), parts) or f"one of {', '.join(parts)}"
                self.fail(f"{where}.expect names {part!r}, which is none of the rewards", known)
        expected = {part: self._range(value, f"{where}.expect.{part}") for part, value in expect.items()}
        columns = self._columns(keys.get("columns", {}), f"{where}.columns")
        return Case(name, completion, {**shared, **columns}, expected)

    def _range(self, value: Any, where: str) -> Expected:
        if value is None:
            return None
        ends = value if isinstance(value, list) else [value, value]
        is_pair = len(ends) == 2 and all(type(end) in (int, float) for end in ends) and ends[0] <= ends[1]
        self.checked(value, is_pair, where, "a score, [lowest, highest], or null")
        return float(ends[0]), float(ends[1])

    def _columns(self, value: Any, where: str) -> dict[str, Any]:
        is_table = isinstance(value, dict) and all(isinstance(name, str) for name in value)
        return self.checked(value, is_table, where, "columns and their values, such as {answer: '18'}")

    def _list(self, value: Any, where: str) -> list[Any]:
        is_list = isinstance(value, list) and bool(value)
        return self.checked(value, is_list, where, "a list with at least one entry")
