"""What a check works on: a reward, rows, and completions of them that are right, wrong, blank and long."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from toolkit.data import rows
from toolkit.data.arithmetic import ARITHMETIC, generate
from toolkit.data.schema import Row, messages
from toolkit.errors import DataError, did_you_mean
from toolkit.rewards.bench.calling import Outcome, Sample, Scores, score
from toolkit.rewards.bench.layouts import TEMPLATES, asked_by, render, wrong_answers
from toolkit.rewards.target import Target

NO_GOLD = "17"
REASONING = "The question gives what is needed. Put together step by step, it comes to {answer}."
LONG = "The question gives what is needed, and it is read again with care before anything is put together. " * 4


@dataclass
class Subject:
    """A reward, the rows it is checked on, and the calls that several checks look at."""

    target: Target
    rows: Sequence[Row]
    gold_column: str = "answer"
    prompts_are_given: bool = True
    """The dataset has prompts of its own, rather than questions that were put into the recipes' prompt."""

    @cached_property
    def golds(self) -> list[str]:
        """The gold answers as text; "17" where a row has none, for rewards that look at the layout alone."""
        given = [row.get(self.gold_column) for row in self.rows]
        return [NO_GOLD if gold is None or not str(gold).strip() else str(gold) for gold in given]

    @cached_property
    def has_golds(self) -> bool:
        return any(row.get(self.gold_column) not in (None, "") for row in self.rows)

    @property
    def takes_gold(self) -> bool:
        """Whether the reward judges by the gold column: needs it by its declaration, or names it as a parameter."""
        declared = self.target.declared
        return self.gold_column in (declared.columns if declared is not None else self.target.takes)

    @cached_property
    def about_gold(self) -> bool:
        """Whether it judges by the gold answer: it says so, or it pays right answers more in most rows."""
        if self.takes_gold or self.target.declared is not None:
            return self.takes_gold
        more = [right is not None and wrong is not None and right > wrong for right, wrong, *_ in self.groups]
        return 2 * sum(more) > len(more)

    @cached_property
    def layout(self) -> str:
        """How answers are laid out: as the dataset's prompts ask, or else as the reward reads them."""
        asked = asked_by(self.rows[0]["prompt"])
        if asked and self.prompts_are_given:
            return asked
        declared = self.target.declared
        if declared is not None:
            readable = [layout for layout in declared.best_layouts if layout in TEMPLATES]
        else:
            readable = [layout for layout in TEMPLATES if self.has_golds and self.separates(layout)]
        if asked and (asked in readable or not readable):
            return asked
        return readable[0] if readable else "answer_tag"

    def separates(self, layout: str) -> bool:
        """Whether right answers in this layout earn more than wrong ones, in more than half of the rows."""
        n = len(self.rows)
        samples = [*self.rendered(self.golds, layout), *self.rendered(self.mistakes, layout)]
        scores = self.score(samples).scores
        pairs = zip(scores[:n], scores[n:], strict=True)
        return 2 * sum(right is not None and wrong is not None and right > wrong for right, wrong in pairs) > n

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
        return score(self.target.function, samples, messages=messages)

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

    @property
    def groups(self) -> list[Scores]:
        """The same, row by row: right, wrong, blank, long."""
        return [self.scores[i : i + 4] for i in range(0, len(self.scores), 4)]


def training_rows(dataset: str, n_rows: int, gold_column: str = "answer") -> tuple[list[Row], bool]:
    """The first `n_rows` rows with different prompts, as training would pass them, and whether the prompts are theirs.

    A row with `prompt` stays as it is. One with `question` becomes a row of the recipes: their system prompt, and its
    gold answer bare. A row with neither is a DataError. `arithmetic` needs no file.
    """
    path, found = Path(dataset).expanduser(), {}
    prompts_are_given = False
    numbered = enumerate(_generated(), start=1) if dataset == ARITHMETIC else rows.read(path)
    for number, row in numbered:
        prompts_are_given |= row.get("prompt") is not None
        made = _as_in_training(row, rows.place(path, number), gold_column)
        found.setdefault(repr(made["prompt"]), made)
        if len(found) >= n_rows:
            break
    return list(found.values()), prompts_are_given


def _generated() -> Iterator[Row]:
    rng = random.Random(0)
    while True:
        problem = generate(rng, "train")
        yield {"question": problem.question, "answer": str(problem.answer)}


def _as_in_training(row: Row, where: str, gold_column: str) -> Row:
    if row.get("prompt") is not None:
        return row
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        hint = did_you_mean("question", row) or f"a `prompt` or a `question` beside {', '.join(row)}"
        raise DataError(f"{where} has no prompt", hint)
    gold = row.get(gold_column)
    made = row | {"prompt": messages(question.strip())}
    return made if gold is None else made | {gold_column: rows.bare_gold(gold)}
