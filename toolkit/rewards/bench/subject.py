"""What a check works on: a reward, rows, and completions of them that are right, wrong, blank and long."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from statistics import fmean

from toolkit.data import rows
from toolkit.data.arithmetic import ARITHMETIC, generate
from toolkit.data.columns import value_of
from toolkit.data.schema import WORKED_SOLUTION, Row, messages
from toolkit.data.shapes import Wanted
from toolkit.data.table import read_file
from toolkit.rewards.answers import golds
from toolkit.rewards.bench import source
from toolkit.rewards.bench.calling import TOLERANCE, Outcome, Sample, Scores, same, score
from toolkit.rewards.bench.layouts import TEMPLATES, asked_by, render, wrong_answers
from toolkit.rewards.target import Target

NO_GOLD = "17"
REASONING = "The question gives what is needed. Put together step by step, it comes to {answer}."
LONG = "The question gives what is needed, and it is read again with care before anything is put together. " * 4


GOLD = "answer"
QUESTION = "question"
"""The columns that training puts the gold answer and the question in, whatever their names in the file."""
ANY = Wanted(needs=frozenset())
"""Rows that may lack a gold answer, since not every reward reads one."""
CALL_LIMIT_S = 20.0  # of a reward that a user wrote: it may wait for ever, or search a text for ever
LAYOUTS_BUDGET_S = 5.0  # after which no further layout is tried; a model that judges takes a second a completion


@dataclass(frozen=True)
class Tried:
    """What a reward gives in one layout, row by row; nothing where the call went wrong."""

    right: Scores
    wrong: Scores
    swapped: Scores
    """Of the right completion, where the gold column says what the wrong one does."""
    again: Scores
    """Of the right one once more: a score with noise in it says nothing of the gold column."""
    fault: str
    """What is wrong with the call; else empty."""

    @property
    def separates(self) -> bool:
        return _separates(self.right, self.wrong)

    @property
    def reads_gold(self) -> bool:
        return same(self.right, self.again) and not same(self.right, self.swapped)

    @property
    def mean(self) -> float:
        """What the right answers earn; the least where none can be judged."""
        judged = [score for score in self.right if score is not None]
        return fmean(judged) if judged else -math.inf


def _separates(right: Scores, wrong: Scores) -> bool:
    """Whether right answers earn more than wrong ones, in more than half of the rows."""
    pairs = zip(right, wrong, strict=True)
    return 2 * sum(r is not None and w is not None and r > w for r, w in pairs) > len(right)


@dataclass
class Subject:
    """A reward, the rows it is checked on, and the calls that several checks look at."""

    target: Target
    rows: Sequence[Row]
    prompts_are_given: bool = True
    """The dataset has prompts of its own, rather than questions that were put into the recipes' prompt."""
    given_layout: str = ""
    """How answers are laid out, as the user says; see `layouts.render`."""
    layouts_budget_s: float = LAYOUTS_BUDGET_S
    _tried: dict[str, Tried] = field(default_factory=dict, init=False)

    @cached_property
    def golds(self) -> list[str]:
        """The gold answers as text, of several the first; "17" where a row has none, for rewards of the layout."""
        given = [row.get(GOLD) for row in self.rows]
        return [NO_GOLD if gold is None or not str(gold).strip() else golds(str(gold))[0] for gold in given]

    @cached_property
    def has_golds(self) -> bool:
        return any(row.get(GOLD) not in (None, "") for row in self.rows)

    @cached_property
    def takes_gold(self) -> bool:
        """Whether the reward says that it judges by the gold column: by its declaration, or since its code reads it."""
        if self.target.declared is not None:
            return GOLD in self.target.declared.columns
        function = self.target.function
        return source.looks_up(function, GOLD) or (GOLD in self.target.takes and source.uses(function, GOLD))

    @cached_property
    def reads_gold(self) -> bool:
        """Whether it judges by the gold column: it declares it, or other gold answers there change its scores."""
        if self.target.declared is not None:
            return self.takes_gold
        return self.has_golds and any(self.tried(layout).reads_gold for layout in self._worth_trying())

    @cached_property
    def about_gold(self) -> bool:
        """Whether it pays the gold answer, by that column or by another that agrees with it."""
        if self.target.declared is not None:
            return self.takes_gold
        return self.reads_gold or (self.has_golds and self.tried(self.layout).separates)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The layouts that the prompts ask for, the most literal first."""
        return asked_by(self.rows[0]["prompt"])

    @cached_property
    def layout(self) -> str:
        """How answers are laid out: as the user says or the dataset's prompts ask, else as the reward reads them."""
        if self.given_layout:
            return self.given_layout
        declared, must = self.target.declared, self.asked if self.prompts_are_given else ()
        if declared is not None:  # no call is needed, which may take a model
            readable = [layout for layout in declared.best_layouts if layout in TEMPLATES]
            asked = [layout for layout in self.asked if layout in readable or not readable]
            return (*asked, *must, *readable, "answer_tag")[0]
        if must:
            return must[0] if len(must) == 1 else self._first_read(must) or must[0]
        if found := self._first_read(self._worth_trying()):
            return found
        fallback = self.asked[0] if self.asked else "answer_tag"
        best = max(self._tried.values(), key=lambda tried: tried.mean, default=None)
        paid = [name for name, tried in self._tried.items() if best is not None and tried.mean >= best.mean - TOLERANCE]
        return fallback if fallback in paid or not paid else paid[0]

    def _first_read(self, layouts: Iterable[str]) -> str | None:
        """The first in which it pays right answers more, else the first at which it fails, so that this is told."""
        if not self.has_golds:
            return None
        failed = None
        for layout in layouts:
            if self.tried(layout).separates:
                return layout
            failed = failed or (layout if self.tried(layout).fault else None)
        return failed

    @property
    def pays_wrong_in(self) -> str:
        """The first layout tried in which wrong answers earn more, where none pays right ones; else empty."""
        if any(tried.separates for tried in self._tried.values()):
            return ""
        upside_down = (name for name, tried in self._tried.items() if _separates(tried.wrong, tried.right))
        return next(upside_down, "")

    @cached_property
    def others(self) -> list[str]:
        """Layouts beside its own in which the reward pays right answers more."""
        return [name for name in self._worth_trying() if name != self.layout and self.tried(name).separates]

    @property
    def tried_layouts(self) -> list[str]:
        """Every layout in which it was asked for a score."""
        return list(self._tried)

    @property
    def pays_anything(self) -> bool:
        """Whether any two of the completions tried, in any layout, earn differently."""
        seen = {
            score for layout in self._worth_trying() for score in (*self.tried(layout).right, *self.tried(layout).wrong)
        }
        return len(seen | set(self.scores)) > 1

    def _worth_trying(self) -> Iterator[str]:
        """Layouts, the likeliest first, until the time for them is up."""
        if self.given_layout:
            yield self.given_layout
            return
        started = time.perf_counter()
        of_its_own = () if self.target.declared is not None else source.layouts(self.target.function)
        for layout in dict.fromkeys((*self.asked, *TEMPLATES, *of_its_own)):
            if self._tried and layout not in self._tried and time.perf_counter() - started > self.layouts_budget_s:
                return
            yield layout

    def tried(self, layout: str) -> Tried:
        """What it gives in a layout, in one call."""
        if layout not in self._tried:
            right, wrong = self.rendered(self.golds, layout), self.rendered(self.mistakes, layout)
            swapped = [
                Sample(sample.row | {GOLD: mistake}, sample.text)
                for sample, mistake in zip(right, self.mistakes, strict=True)
            ]
            groups = chain.from_iterable(zip(right, wrong, swapped, right, strict=True))
            outcome = self.score(list(groups))
            self._tried[layout] = Tried(*(outcome.scores[i::4] for i in range(4)), fault=outcome.fault)
        return self._tried[layout]

    @cached_property
    def wrong(self) -> list[dict[str, str]]:
        """The wrong answers of every row by what is wrong with them, the honest mistake first."""
        return [wrong_answers(gold, self.golds) for gold in self.golds]

    @property
    def mistakes(self) -> list[str]:
        """The honest mistake of every row."""
        return [next(iter(wrong.values())) for wrong in self.wrong]

    def rendered(self, answers: Sequence[str], layout: str = "") -> list[Sample]:
        """A completion of every row that gives this answer."""
        return [
            Sample(row, render(layout or self.layout, REASONING.format(answer=answer), answer))
            for row, answer in zip(self.rows, answers, strict=True)
        ]

    def score(self, samples: Sequence[Sample], *, messages: bool | None = None) -> Outcome:
        """Call the reward on these completions."""
        limit_s = CALL_LIMIT_S if self.target.declared is None else None  # ours have limits, and may ask a model
        return score(self.target.function, samples, messages=messages, limit_s=limit_s)

    @cached_property
    def probes(self) -> list[Sample]:
        """Four completions of every row, its group: right, wrong, blank, and wrong at length."""
        right, wrong = self.rendered(self.golds), self.rendered(self.mistakes)
        blank = [Sample(row, "") for row in self.rows]
        long = [Sample(sample.row, LONG + sample.text) for sample in wrong]
        return list(chain.from_iterable(zip(right, wrong, blank, long, strict=True)))

    def in_groups(self, samples: Sequence[Sample]) -> Scores:
        """Scores of one completion a row, each in the place of the right one in its group; empty if that goes wrong."""
        mixed = list(self.probes)
        mixed[::4] = samples
        return self.score(mixed).scores[::4]

    @cached_property
    def first(self) -> Outcome:
        """The first call: every probe, in TRL's order."""
        return self.score(self.probes)

    @cached_property
    def scores(self) -> Scores:
        """The scores of the probes; only to be asked for when the first call is sound."""
        return self.first.scores

    @cached_property
    def repeats(self) -> bool:
        """Whether a second call gives the same scores; where not, nothing can be learnt from comparing two."""
        return same(self.score(self.probes).scores, self.scores)

    @cached_property
    def needs_its_place(self) -> bool:
        """Whether a completion's score depends on where in the batch it stands, or on other rows' completions."""
        turned = same(self.score(self.probes[::-1]).scores[::-1], self.scores)
        # beside right answers only, so that the mean of the batch is another
        beside = self.score([*self.probes[:4], *self.probes[4:5] * 4]).scores[:4] if len(self.rows) > 1 else None
        return not turned or (beside is not None and not same(beside, self.scores[:4]))

    @property
    def pays_right(self) -> bool:
        """Whether right answers earn more than wrong ones, in more than half of the rows."""
        return _separates(self.scores[::4], self.scores[1::4])

    @property
    def span(self) -> float:
        """What a right answer earns above a wrong one; of a reward that judges something else, all that it was seen to
        give, or declares."""
        seen = [score for score in self.scores if score is not None] or [0.0]
        low, high = self.target.range or (min(seen), max(seen))
        rights, wrongs = ([s for s in self.scores[i::4] if s is not None] for i in (0, 1))
        return fmean(rights) - fmean(wrongs) if self.pays_right and rights and wrongs else high - low

    @property
    def groups(self) -> list[Scores]:
        """The same, row by row: right, wrong, blank, long."""
        return [self.scores[i : i + 4] for i in range(0, len(self.scores), 4)]


def training_rows(dataset: str, n_rows: int, wanted: Wanted = ANY) -> tuple[list[Row], bool]:
    """The first `n_rows` rows, those of equal prompts once, as training would pass them, and whether the prompts are
    the dataset's own. `arithmetic` needs no file.

    Raises:
        DataError: what `data.table.read_file` raises.
    """
    if dataset == ARITHMETIC:
        problems = islice(_generated(), n_rows)
        return [row | {"prompt": messages(row["question"])} for row in problems], False
    read = read_file(Path(dataset).expanduser(), wanted, n_rows).rows
    table = [{name: value for name, value in row.items() if name != WORKED_SOLUTION} for row in read]
    asked = [row if "prompt" in row else row | {"prompt": messages(row["question"])} for row in table]
    by_prompt = {repr(row["prompt"]): row for row in reversed(asked)}
    return list(by_prompt.values())[::-1], any("prompt" in row for row in table)


def _generated() -> Iterator[Row]:
    rng, seen = random.Random(0), set()
    while True:
        problem = generate(rng, "train")
        if problem.question not in seen:
            seen.add(problem.question)
            yield {"question": problem.question, "answer": str(problem.answer)}


def renamed(row: Row, answer_column: str = GOLD, question_column: str = QUESTION) -> Row:
    """The row with its question and its bare gold answer, where it has them, under the names that training gives."""
    found = {name: value for name, value in row.items() if name not in (answer_column, question_column)}
    question, gold = value_of(row, question_column), value_of(row, answer_column)
    if question is not None:
        found[QUESTION] = question
    if gold is not None:
        found[GOLD] = rows.bare_gold(gold)
    return found
