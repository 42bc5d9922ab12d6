"""Which column holds what: the names that a field has in the datasets people use, and what is said where none fits.

Names are compared without case, so `Question` is `question`. A dot reaches into a column that holds objects:
`reward_model.ground_truth`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from toolkit.data.rows import shown
from toolkit.data.schema import Row
from toolkit.errors import DataError, did_you_mean

QUESTION, ANSWER, PROMPT = "question", "answer", "prompt"
"""The names that rows have in training, and the defaults of `--question_column` and `--answer_column`."""
QUESTIONS = (
    *(QUESTION, "problem", "prompt", "instruction", "query", "input", "text", "task", "ctx", "sentence"),
    *("question_stem", "question_text", "problem_statement"),
)
GOLDS = (
    *(ANSWER, "ground_truth", "final_answer", "target", "label", "gold", "gold_answer", "expected_answer"),
    *("correct_answer", "reference_answer", "answer_key", "answerkey", "answers", "answer_idx", "correct", "cop"),
    "reward_model.ground_truth",
)
WORKED = ("solution", "output", "response", "completion")
"""An answer with its working, taken where there is no bare one."""
CHATS = ("messages", "conversations", "conversation")
CHOICES = ("choices", "options", "endings")
CONTEXT = ("context", "passage", "input", "article", "document", "paragraph", "premise", "story")
"""What a question may be about, and what a person would expect to be asked with it."""


def value_of(row: Row, column: str) -> Any:
    """What a row holds there; None where it holds nothing."""
    value = row.get(column)
    if value is None and "." in column:
        outer, _, inner = column.partition(".")
        held = row.get(outer)
        return value_of(held, inner) if isinstance(held, dict) else None
    return value


def is_there(column: str, columns: Iterable[str], head: Sequence[Row]) -> bool:
    return column in columns or ("." in column and any(value_of(row, column) is not None for row in head))


def named(aliases: Sequence[str], columns: Sequence[str], head: Sequence[Row]) -> list[str]:
    """The columns that have one of these names, in the order of the names."""
    by_name = {column.lower().replace(" ", "_").replace("-", "_"): column for column in reversed(columns)}
    found = [by_name.get(alias, alias) for alias in aliases]
    return [column for column in found if is_there(column, columns, head)]


def question_column(asked: str, columns: Sequence[str], head: Sequence[Row], source: str) -> str:
    """The column of the question: the one asked for, or the only one that has a question's name.

    Raises:
        DataError: there is none, or several may be it. A gold answer is never proposed.
    """
    if is_there(asked, columns, head):
        return asked
    found = named(QUESTIONS, columns, head) if asked == QUESTION else []
    if any(column.lower() == "instruction" for column in found):  # Alpaca's `input` is asked below it
        found = [column for column in found if column.lower() != "input"]
    if len(found) == 1:
        return found[0]
    if found:
        raise _several(asked, found, source, "question_column")
    golds = {*named((*GOLDS, *WORKED), columns, head)}
    raise _missing(asked, [column for column in columns if column not in golds], source, "question_column")


def gold_column(
    asked: str, columns: Sequence[str], head: Sequence[Row], source: str, same: Callable[[Row, str, str], bool]
) -> str:
    """The column of the gold answer: the one asked for, the only one that has its name, or the only worked answer.

    Several that hold the same in every row of `head`, by `same(row, column, other)`, are one.

    Raises:
        DataError: there is none, or several may be it.
    """
    if is_there(asked, columns, head):
        return asked
    for aliases in (GOLDS, WORKED) if asked == ANSWER else ():
        first, *others = named(aliases, columns, head) or [""]
        if first and all(same(row, first, other) for row in head for other in others):
            return first
        if first:
            raise _several(asked, [first, *others], source, "answer_column")
    questions = {*named(QUESTIONS, columns, head), *CHATS}
    raise _missing(asked, [column for column in columns if column not in questions], source, "answer_column")


def _several(asked: str, found: Sequence[str], source: str, flag: str) -> DataError:
    listed = ", ".join(shown(repr(column)) for column in found)
    what = f"{source} has no column {asked!r}, and {len(found)} that may be it: {listed}"
    return DataError(what, "one of them", f"name it with --{flag}, for example: --{flag} {found[0]}")


def _missing(asked: str, others: Sequence[str], source: str, flag: str) -> DataError:
    hint = did_you_mean(asked, others) or (f"one of {', '.join(map(shown, others))}" if others else "one more column")
    return DataError(f"{source} has no column {shown(asked)!r}", hint, f"name it with --{flag}")
