"""What a reward is: a frozen dataclass that is called as TRL calls rewards, and that can say why it gave a score.

TRL 1.15 calls `f(prompts=, completions=, completion_ids=, **dataset_columns, trainer_state=, log_extra=, log_metric=)`
with lists of equal length and takes one float or None a completion. None means "cannot judge": TRL leaves that
completion out of its group's mean for this function. It is never 0, and NaN and infinity never come out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from toolkit.errors import RewardError, did_you_mean
from toolkit.rewards.completions import Completion, one_line, text_of

UNJUDGED = "unjudged/{}_frac"
"""The metric, by a reward's name, of the share of completions that it could not judge."""

PASSED_BY_TRL = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What TRL 1.15 passes to every reward function, by name, beside the dataset's columns."""


@dataclass(frozen=True)
class Explanation:
    """One score and the reason for it, on one line."""

    score: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class RewardFunction:
    """Base of every reward. A subclass is a frozen dataclass whose fields are its settings, so it pickles.

    What describes it is a class attribute, which has no annotation there and so is no field. A subclass gives `judge`
    and `reason`, and its `range` where that is not 0 to 1; one that compares completions of a group overrides `scores`.
    `judge` never raises on any text, takes time linear in its length, and gives None for what the row brings (a gold
    answer that cannot be read) but not for what the completion brings: a model must not write itself out of judgement.
    """

    name: ClassVar[str]
    """Registry name; also `__name__`, under which TRL logs `rewards/<name>/mean`."""
    columns: ClassVar[tuple[str, ...]] = ()
    """Dataset columns it needs beside the completions."""
    optional_columns: ClassVar[tuple[str, ...]] = ()
    """Columns that it uses when they are there (`completion_ids`)."""
    purpose: ClassVar[str]
    """One sentence: what it is for."""
    weakness: ClassVar[str]
    """One sentence: how it can be hacked."""
    best_layouts: ClassVar[tuple[str, ...]] = ()
    """Layouts (`bench.layouts`) in which a right answer earns the most; none where it takes more than a layout."""
    known_exploits: ClassVar[tuple[str, ...]] = ()
    """What `weakness` says, as names of `toolkit reward attack`: these earn more than an honest wrong answer."""
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    """Lowest and highest score; a property where the settings decide."""

    title: str = ""
    """Another name to log under, for the second reward of a kind in one run."""

    @property
    def __name__(self) -> str:
        return self.title or self.name

    def unavailable(self, row: Mapping[str, Any]) -> str:
        """Why it cannot judge anything now, asked with one row of a run before the run; empty where it can."""
        return ""

    def _require(self, is_so: bool, found: str, wanted: str) -> None:
        """Raise a RewardError where it is not so."""
        if not is_so:
            raise RewardError(f"reward {self.__name__!r}: {found}", wanted)

    def judge(self, text: str, **row: Any) -> float | None:
        """The score of one completion's text, given its row's columns. The hot path: it builds only the score."""
        raise NotImplementedError

    def reason(self, text: str, score: float | None, **row: Any) -> str:
        """Why `judge` gave this score."""
        raise NotImplementedError

    def explain(self, completion: Completion, **row: Any) -> Explanation:
        """Judge one completion and say why, in one line; `row` holds its columns, one value each.

        Raises:
            RewardError: a column that it needs is missing.
        """
        text, row = text_of(completion), self._checked(row)
        score = self.judge(text, **row)
        return Explanation(score, one_line(self.reason(text, score, **row)))

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """Score completions, plain or conversational, in TRL's calling convention.

        Warns once for each reason why a completion cannot be judged, naming its row, and reports their share as the
        metric `unjudged/<name>_frac`.

        Raises:
            RewardError: a column is missing, is no list, or has another length than `completions`.
        """
        scores = self.scores(completions, self._lists(len(completions), columns), columns)
        if None in scores:
            self._warn(scores.index(None), completions, columns)
            if log_metric := columns.get("log_metric"):
                log_metric(UNJUDGED.format(self.__name__), scores.count(None) / len(scores))
        return scores

    def scores(
        self, completions: Sequence[Completion], lists: Mapping[str, Sequence[Any]], extra: Mapping[str, Any]
    ) -> list[float | None]:
        """One score a completion. `lists` holds the columns of this reward, checked; `extra` all that TRL passed."""
        judge, names = self.judge, tuple(lists)
        if not names:
            return [judge(text_of(completion)) for completion in completions]
        rows = zip(completions, *lists.values(), strict=True)
        return [judge(text_of(completion), **dict(zip(names, row, strict=True))) for completion, *row in rows]

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of this reward out of all that were given."""
        for column in self.columns:
            if column not in given:
                known = [name for name in given if name not in PASSED_BY_TRL]
                hint = did_you_mean(column, known) or f"a column {column!r} beside {', '.join(known) or 'the prompt'}"
                raise RewardError(
                    f"reward {self.__name__!r} got no column {column!r}", hint, "add it to the dataset, or rename one"
                )
        return {name: given[name] for name in (*self.columns, *self.optional_columns) if name in given}

    def _lists(self, n: int, columns: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
        """The columns of this reward, each checked to hold one value a completion."""
        lists = {name: column for name, column in self._checked(columns).items() if column is not None}
        for name, column in lists.items():
            is_list = isinstance(column, Sequence) and not isinstance(column, (str, bytes))
            kind = type(column).__name__
            self._require(is_list, f"column {name!r} is a {kind}", "a list with one value a completion")
            if len(column) != n:
                found = f"reward {self.__name__!r}: {len(column)} values of {name!r} for {n} completions"
                raise RewardError(found, "one value a completion", "repeat each row's value for its completions")
        return lists

    def _warn(self, i: int, completions: Sequence[Completion], columns: Mapping[str, Any]) -> None:
        """Say that row `i` could not be judged, and why; `warnings` shows each text once."""
        n = len(completions)
        row = {name: column[i] for name, column in columns.items() if isinstance(column, Sequence) and len(column) == n}
        reason = self.explain(completions[i], **row).reason
        asked = next((row[key] for key in ("question", "prompts") if key in row), None)
        where = f"row {i + 1} of {n}" + (f", {one_line(text_of(asked), 60)!r}" if asked else "")
        warnings.warn(f"reward {self.__name__!r} scores None for {where}: {reason}", RewardWarning, stacklevel=3)


class RewardWarning(UserWarning):
    """A completion that a reward could not judge, which is most often the dataset's fault."""
