"""A table of questions and answers from a file: JSONL, JSON, CSV or Parquet.

One JSONL row: `{"question": "Tom has 3 pens and buys 4. How many?", "answer": "7"}`; an answer may also be GSM8K's
worked text that ends in `#### 7`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from toolkit.data.examples import worked_solution
from toolkit.data.rows import bare_gold, read, shown
from toolkit.data.schema import Problems, Row
from toolkit.errors import DataError, did_you_mean

IsGold = Callable[[str], bool]
"""Whether a text, which is not blank, is a gold answer. Named `is_NOUN`: errors say that one NOUN was wanted."""
MAX_HELD_OUT_FRAC = 0.2  # of a small file, so that something is left to train on


def load(path: Path, question_column: str, answer_column: str, n_held_out: int, *, is_gold: IsGold = bool) -> Problems:
    """Read a file and hold out rows by a hash of the question, the same rows for every training seed.

    At most a fifth of the rows is held out; a question that occurs twice lies on one side only.

    Raises:
        DataError: what `rows.read` and `rows_from_table` raise; a file with one question only.
    """
    rows = rows_from_table([row for _, row in read(path)], str(path), question_column, answer_column, is_gold=is_gold)
    train, held_out = hold_out(rows, n_held_out)
    report = f"{len(rows):,} rows read, {len(train):,} to train on, {len(held_out)} held out"
    if len(held_out) < n_held_out:
        report += f" (asked for {n_held_out}, a fifth of the rows is {len(held_out)})"
    return Problems(train, held_out, path.name, (report,))


def hold_out(rows: list[Row], n_held_out: int) -> tuple[list[Row], list[Row]]:
    """Split rows by the hash of their question; a DataError where there are fewer than two distinct ones."""
    by_hash = sorted({_key(row["question"]) for row in rows})
    if len(by_hash) < 2:
        raise DataError(f"{len(by_hash)} distinct question", "at least 2: one to train on, one to measure")
    n = max(1, min(n_held_out, int(len(by_hash) * MAX_HELD_OUT_FRAC)))
    chosen = set(by_hash[:n])
    held_out = {_key(row["question"]): row for row in rows if _key(row["question"]) in chosen}
    return [row for row in rows if _key(row["question"]) not in chosen], list(held_out.values())


def rows_from_table(
    table: Iterable[Row], source: str, question_column: str, answer_column: str, *, is_gold: IsGold = bool
) -> list[Row]:
    """Turn the rows of a file or dataset into rows to train on, with every gold answer bare and checked by `is_gold`.

    Raises:
        DataError: no row has one of the columns (with the nearest name), or a row has no question or no gold answer
            that can be used; rows are counted from 1.
    """
    table = list(table)
    columns = list(dict.fromkeys(name for row in table for name in row))
    for flag, column in (("question_column", question_column), ("answer_column", answer_column)):
        if column not in columns:
            hint = did_you_mean(column, columns) or f"one of {', '.join(map(shown, columns))}"
            raise DataError(f"{source} has no column {shown(column)!r}", hint, f"name it with --{flag}")
    rows = []
    for i, row in enumerate(table, start=1):
        question, gold = row.get(question_column), bare_gold(row.get(answer_column))
        if not isinstance(question, str) or not question.strip():
            found = f"{source} row {i}: column {question_column!r} holds {shown(repr(question))}"
            raise DataError(found, "a question in words")
        if not gold:
            raise DataError(f"{source} row {i}: no gold answer", "one in every row", "fill it in or remove the row")
        if not is_gold(gold):
            noun = _noun(is_gold)
            found = f"{source} row {i}: gold answer {shown(gold)!r} is not one {noun}"
            raise DataError(found, f"a {noun}, or text that ends in `#### ` and one", "fix or remove the row")
        if not _is_unicode(question + gold):
            raise DataError(f"{source} row {i} has half a character in it", "text in UTF-8", "fix or remove the row")
        solution = worked_solution(row.get(answer_column))
        rows.append({"question": question.strip(), "answer": gold} | ({"solution": solution} if solution else {}))
    return rows


def _noun(is_gold: IsGold) -> str:
    _, named, noun = getattr(is_gold, "__name__", "").partition("is_")
    return noun.replace("_", " ") if named else "usable answer"


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogate, which JSON can spell and no tokenizer takes."""
    return text.isascii() or text == text.encode("utf-8", "ignore").decode()


def _key(question: str) -> str:
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()
