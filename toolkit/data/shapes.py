"""From a row as a dataset has it to a row to train on. What the columns are is decided once, by the first rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from toolkit.data import choices, code_tests, columns
from toolkit.data.chats import as_chat, is_chat, messages_of, split_chat
from toolkit.data.choices import Options
from toolkit.data.columns import ANSWER, CHATS, CHOICES, CONTEXT, GOLDS, PROMPT, QUESTION, QUESTIONS, WORKED, value_of
from toolkit.data.examples import worked_solution
from toolkit.data.faults import Unusable
from toolkit.data.rows import bare_gold, shown
from toolkit.data.schema import WORKED_SOLUTION, Messages, Row
from toolkit.errors import DataError
from toolkit.rewards.answers import golds

IsGold = Callable[[str], bool]
"""Whether a text, which is not blank, is a gold answer. Named `is_NOUN`: errors say that one NOUN was wanted."""
NEEDS = frozenset({ANSWER})
RESERVED = (
    *("prompts", "completions", "completion", "completion_ids", "trainer_state", "log_extra", "log_metric"),
    *("image", "images", "environment", "environments"),
)
"""Columns that TRL 1.15 would take for its own: left out."""


@dataclass(frozen=True)
class Wanted:
    """What of a table is asked for."""

    question_column: str = QUESTION
    answer_column: str = ANSWER
    needs: frozenset[str] = NEEDS
    """Columns that the rewards read, and that every row must have."""
    is_gold: IsGold = bool
    drop_bad_rows: bool = False


@dataclass(frozen=True)
class Shape:
    """What the columns of a table are."""

    asked: str
    """The column of the question, the chat or the prompt."""
    is_prompt: bool
    """It is the whole prompt, and kept as it stands."""
    gold: str
    """The column of the gold answer; empty: the chat's last turn."""
    has_gold: bool
    context: str
    """The column that is asked below the question, Alpaca's `input`; empty for none."""
    options: Callable[[Row], Options | None] | None
    reading: str
    """How gold answers name a choice: see `choices.READINGS`; empty where they do not."""
    tests: Callable[[Row], list[Any]] | None
    needs: frozenset[str]
    is_gold: IsGold
    extras: tuple[str, ...]
    """The table's columns that rewards get as they are."""

    def made(self, row: Row) -> Row:
        """A row to train on: `question`, `answer` where there is one, `prompt` where it is the dataset's own, `choices`
        and `tests` in the form that the rewards read, and every other column as it is.

        Raises:
            Unusable: the row has no question, not what the rewards need, or half a character.
        """
        question, prompt, told = self._asked(row)
        made = {name: row.get(name) for name in self.extras}
        told = value_of(row, self.gold) if self.gold else told
        gold = bare_gold(_value(told)) if self.has_gold else ""
        if ANSWER in self.needs and not gold:
            raise Unusable("no gold answer", wanted="one in every row", next_step="fill it in or remove the row")
        options = self.options(row) if self.options else None
        if self.options:
            made["choices"] = list(options.texts) if options else None
        if options:
            question = question if prompt else choices.rendered(question, options)
            gold = self._letter(gold, options)
        if self.tests:
            made["tests"] = tests = self.tests(row)
            question = question if prompt else code_tests.with_example(question, tests)
        for name in self.needs - {ANSWER, QUESTION, PROMPT}:
            if made.get(name) is None:
                raise Unusable(f"nothing in {name!r}, which a reward reads", wanted="a value in every row")
        if gold and ANSWER in self.needs and not all(map(self.is_gold, golds(gold))):
            raise self._no_gold(gold, options)
        made[QUESTION] = question
        if self.has_gold:
            made[ANSWER] = gold or None
            made[WORKED_SOLUTION] = worked_solution(told)
        if prompt:
            made[PROMPT] = prompt
        if not all(map(_is_unicode, (question, gold, *(message["content"] for message in prompt or ())))):
            raise Unusable("half a character", "the row has half a character in it", "text in UTF-8")
        return made

    def _asked(self, row: Row) -> tuple[str, Messages | None, str]:
        """The question, the prompt where it is the dataset's own, and the answer that a chat gives."""
        value = as_chat(value_of(row, self.asked))
        if is_chat(value):
            chat, told = split_chat(messages_of(value))
            if told and self.is_prompt:
                raise Unusable("a prompt that ends with an answer", wanted="the user's turn at its end")
            given = row.get(QUESTION) if self.is_prompt else None
            question = given if isinstance(given, str) and given.strip() else chat[-1]["content"]
            is_question = len(chat) == 1 and not self.is_prompt
            return self._text(question), None if is_question else chat, told
        if self.is_prompt:
            given = row.get(QUESTION)
            question = self._text(given if isinstance(given, str) and given.strip() else value)
            return question, [{"role": "user", "content": self._text(value)}], ""
        context = row.get(self.context) if self.context else None
        below = f"\n\n{context.strip()}" if isinstance(context, str) and context.strip() else ""
        return self._text(value) + below, None, ""

    def _text(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            found = f"column {self.asked!r} holds {shown(repr(value))}"
            raise Unusable("no question", found, "a question in words")
        return value.strip()

    def _letter(self, gold: str, options: Options) -> str:
        if not gold or not self.reading:
            return gold
        index = choices.READINGS[self.reading](gold, options)
        if index is None:
            found = f"gold answer {shown(gold)!r} is none of its {len(options.texts)} choices"
            raise Unusable("a gold answer that is none of the choices", found, self.reading)
        return ascii_uppercase[index]

    def _no_gold(self, gold: str, options: Options | None) -> Unusable:
        _, named, noun = getattr(self.is_gold, "__name__", "").partition("is_")
        noun = noun.replace("_", " ") if named else "usable answer"
        found = f"gold answer {shown(gold)!r} is not one {noun}"
        step = "judge choices with the reward correct_choice" if options else ""
        return Unusable(
            f"a gold answer that is not one {noun}", found, f"a {noun}, or text that ends in `#### ` and one", step
        )


def shape_of(head: Sequence[Row], wanted: Wanted, source: str) -> tuple[Shape, list[str]]:
    """The shape of the table whose first rows these are, and what a user should know of it, one line each.

    Raises:
        DataError: no column for the question or for what the rewards need, or several that may be it.
    """
    names = list(dict.fromkeys(name for row in head for name in row))
    asked, is_prompt = _asked_column(names, head, wanted, source)
    is_told = any(is_chat(as_chat(value_of(row, asked))) for row in head) and not is_prompt
    gold, has_gold = _gold_column(names, head, wanted, source, is_told=is_told)
    options, tests = choices.find(names, head), code_tests.find(names, head)
    is_alpaca = asked.lower() == "instruction" != wanted.question_column
    context = next((name for name in columns.named(("input",), names, head) if is_alpaca), "")
    provided = {ANSWER, QUESTION, PROMPT, *(["choices"] if options else []), *(["tests"] if tests else [])}
    for need in sorted(wanted.needs - provided):
        if need not in names:
            listed = ", ".join(map(shown, names))
            raise DataError(f"{source} has no column {need!r}, which a reward reads", f"one beside {listed}")
    if tests and "tests" not in wanted.needs and not _are_usable(tests[1], head):
        tests = None
    extras = tuple(name for name in names if name not in RESERVED and name not in (PROMPT, QUESTION, ANSWER))
    shape = Shape(
        asked, is_prompt, gold, has_gold, context, options, "", tests[1] if tests else None, wanted.needs,
        wanted.is_gold, extras,
    )  # fmt: skip
    report = _chosen(shape, wanted) + ([f"tests: column {tests[0]!r}"] if tests and tests[0] != "tests" else [])
    return _with_reading(shape, head, names, report)


def _chosen(shape: Shape, wanted: Wanted) -> list[str]:
    """A line for each column that was taken without being asked for by its name."""
    report = []
    if shape.is_prompt:
        ours = f"--question_column {shape.asked} puts the recipe's instruction before them"
        report.append(f"prompts: column {shape.asked!r} as they stand; {ours}")
    elif shape.asked != wanted.question_column or shape.context:
        below = f", with {shape.context!r} below it" if shape.context else ""
        report.append(f"question: column {shape.asked!r}{below}")
    if shape.has_gold and shape.gold != wanted.answer_column:
        report.append(f"gold answer: column {shape.gold!r}" if shape.gold else "gold answer: the last turn of the chat")
    return report


def _asked_column(names: list[str], head: Sequence[Row], wanted: Wanted, source: str) -> tuple[str, bool]:
    if wanted.question_column == QUESTION and any(row.get(PROMPT) is not None for row in head):
        is_whole = QUESTION in names or any(is_chat(as_chat(row.get(PROMPT))) for row in head)
        if is_whole or columns.named(QUESTIONS, names, head) == [PROMPT]:
            return PROMPT, True
    chats = [
        name
        for name in columns.named(CHATS, names, head)
        if any(is_chat(as_chat(row[name])) for row in head if name in row)
    ]
    if wanted.question_column == QUESTION and len(chats) == 1 and not columns.named(QUESTIONS, names, head):
        return chats[0], False
    return columns.question_column(wanted.question_column, names, head, source), False


def _gold_column(
    names: list[str], head: Sequence[Row], wanted: Wanted, source: str, *, is_told: bool
) -> tuple[str, bool]:
    """The column, and whether there are gold answers."""
    if is_told and wanted.answer_column == ANSWER and not columns.named((*GOLDS, *WORKED), names, head):
        return "", True
    try:
        return columns.gold_column(wanted.answer_column, names, head, source, _is_same), True
    except DataError:
        if ANSWER in wanted.needs or wanted.answer_column != ANSWER:
            raise
        return "", False


def _with_reading(shape: Shape, head: Sequence[Row], names: list[str], report: list[str]) -> tuple[Shape, list[str]]:
    """The same with how gold answers name a choice, and what there is to say of it all."""
    if shape.options:
        golds = [
            (gold, options) for row in head if (options := shape.options(row)) and (gold := _gold_text(row, shape))
        ]
        reading = choices.reading(golds)
        if reading or not golds:
            shape = replace(shape, reading=reading)
            report.append("multiple choice, asked as `A. ...`" + (f"; the gold answer is {reading}" if reading else ""))
        else:
            shape = replace(shape, options=None)
    return shape, [*report, *_not_asked(shape, head, names)]


def _not_asked(shape: Shape, head: Sequence[Row], names: list[str]) -> list[str]:
    """A line for each column that a person would expect in the question, and whose text does not stand in it; and one
    where tests call what no prompt names."""
    seen: list[tuple[Row, str, Row]] = []
    for row in head:
        with suppress(Unusable):
            made = shape.made(row)
            prompt = "".join(message["content"] for message in made.get(PROMPT) or ())
            seen.append((row, prompt or made[QUESTION], made))
    report = []
    for name in columns.named((*CHOICES, *CONTEXT, "image", "images"), names, head):
        held = [(row[name], text) for row, text, _ in seen if row.get(name)]
        if name in (shape.asked, shape.gold) or (shape.options and name.lower() in CHOICES):
            continue
        n_absent = sum(not (isinstance(value, str) and value.strip() in text) for value, text in held)
        if n_absent and 2 * n_absent > len(seen):
            report.append(f"column {name!r} is not asked: what the model is to see of it belongs in the question")
    if shape.tests and shape.is_prompt:
        n_unnamed = sum(code_tests.with_example(text, made["tests"]) != text for _, text, made in seen)
        if 2 * n_unnamed > len(seen):
            line = (
                f"the tests call functions that the prompts do not name; --question_column {shape.asked} shows a test"
            )
            report.append(line)
    return report


def _gold_text(row: Row, shape: Shape) -> str:
    try:
        return bare_gold(_value(value_of(row, shape.gold))) if shape.gold else ""
    except Unusable:
        return ""


def _is_same(row: Row, column: str, other: str) -> bool:
    try:
        return bare_gold(_value(value_of(row, column))) == bare_gold(_value(value_of(row, other)))
    except Unusable:
        return False


def _value(held: Any) -> Any:
    """The one value of a list, each of several; also in SQuAD's `{"text": [...]}` and TriviaQA's `{"value": ...}`."""
    if isinstance(held, dict):
        name = next((name for name in ("text", "value", "ground_truth") if name in held), None)
        if name is None:
            raise Unusable("a gold answer that is an object", f"gold answer {shown(repr(held))}", "text or a number")
        return _value(held[name])
    if isinstance(held, (list, tuple)):
        one_of_each = {str(item): item for item in held}
        if len(one_of_each) > 1:
            return [_value(item) for item in one_of_each.values()]
        return held[0] if held else None
    return held


def _are_usable(tests: Callable[[Row], list[Any]], head: Sequence[Row]) -> bool:
    try:
        return all(tests(row) for row in head)
    except Unusable:
        return False


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogate, which JSON can spell and no tokenizer takes."""
    return text.isascii() or text == text.encode("utf-8", "ignore").decode()
