"""A table of questions and answers from a file: JSONL, JSON, CSV or Parquet, read by `datasets`.

One JSONL row: `{"question": "Tom has 3 pens and buys 4. How many?", "answer": "7"}`; an answer may also be GSM8K's
worked text that ends in `#### 7`.
"""

from __future__ import annotations

import glob
import hashlib
import math
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

from toolkit.compat.noise import hush_table_bars
from toolkit.data.schema import Problems, Row
from toolkit.errors import DataError, did_you_mean, first_line
from toolkit.rewards.answers import parse_gold

READERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
MAX_SHOWN = 60  # characters of a user's value in an error
MAX_HELD_OUT_FRAC = 0.2  # of a small file, so that something is left to train on


def load(path: Path, question_column: str, answer_column: str, n_held_out: int) -> Problems:
    """Read a file and hold out rows by a hash of the question, the same rows for every training seed.

    At most a fifth of the rows is held out; a question that occurs twice lies on one side only.

    Raises:
        DataError: no such file, a folder, unknown ending, unreadable, empty, a column missing, or a gold answer that
            is missing or no number (with its row, counted from 1).
    """
    table = _read(path)
    if len(table) == 0:
        raise _empty(path)
    rows = rows_from_table(table, str(path), question_column, answer_column)
    train, held_out = hold_out(rows, n_held_out)
    report = f"{len(rows):,} rows read, {len(train):,} to train on, {len(held_out)} held out"
    if len(held_out) < n_held_out:
        report += f" (asked for {n_held_out}, a fifth of the rows is {len(held_out)})"
    return Problems(train, held_out, path.name, (report,))


def hold_out(rows: list[Row], n_held_out: int) -> tuple[list[Row], list[Row]]:
    """Split rows by the hash of their question.

    Raises:
        DataError: fewer than two distinct questions.
    """
    by_hash = sorted({_key(row["question"]) for row in rows})
    if len(by_hash) < 2:
        raise DataError(f"{len(by_hash)} distinct question", "at least 2: one to train on, one to measure")
    n = max(1, min(n_held_out, int(len(by_hash) * MAX_HELD_OUT_FRAC)))
    chosen = set(by_hash[:n])
    held_out = {_key(row["question"]): row for row in rows if _key(row["question"]) in chosen}
    return [row for row in rows if _key(row["question"]) not in chosen], list(held_out.values())


def rows_from_table(table: Any, source: str, question_column: str, answer_column: str) -> list[Row]:
    """Turn a `datasets` table into rows, with every gold answer bare and checked to be a number.

    Raises:
        DataError: a column is missing (with the nearest name), or a row has no question or no readable answer.
    """
    for flag, column in (("question_column", question_column), ("answer_column", answer_column)):
        if column not in table.column_names:
            hint = did_you_mean(column, table.column_names) or f"one of {', '.join(map(_cut, table.column_names))}"
            raise DataError(f"{source} has no column {_cut(column)!r}", hint, f"name it with --{flag}")
    rows = []
    for i, (question, answer) in enumerate(zip(table[question_column], table[answer_column], strict=True), start=1):
        if not isinstance(question, str) or not question.strip():
            found = f"{source} row {i}: column {question_column!r} holds {_cut(repr(question))}"
            raise DataError(found, "a question in words")
        gold = _plain(answer).rpartition("####")[2].strip()
        if not gold:
            raise DataError(f"{source} row {i}: no gold answer", "a number", "fill it in or remove the row")
        if parse_gold(gold) is None:
            raise DataError(
                f"{source} row {i}: gold answer {_cut(gold)!r} is not one number",
                "a number, or text that ends in `#### 18`",
                "mend or remove the row",
            )
        rows.append({"question": question.strip(), "answer": gold})
    return rows


def _plain(answer: Any) -> str:
    """An answer as a person would write it: `18` for 18.0, no exponent, nothing for a missing one (NaN in Parquet)."""
    if answer is None or (isinstance(answer, float) and math.isnan(answer)):
        return ""
    if isinstance(answer, (float, Decimal)) and math.isfinite(answer):
        return str(int(answer)) if answer == int(answer) else format(Decimal(str(answer)), "f")
    return str(answer)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 5] + "[...]"


def _read(path: Path) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    endings = ", ".join(READERS)
    if not os.path.exists(path):  # Path.exists raises for a name longer than the file system takes
        raise DataError(f"--dataset {path} does not exist", f"a file, {endings}, or a dataset name")
    if path.is_dir():
        raise DataError(f"--dataset {path} is a folder", f"a file, {endings}", "name one file in it")
    if path.suffix.lower() not in READERS:
        raise DataError(f"--dataset {path} ends in {path.suffix or 'nothing'!r}", f"one of {endings}")
    if path.stat().st_size == 0:
        raise _empty(path)
    if path.suffix.lower() == ".csv":
        _check_delimiter(path)
    hush_table_bars()
    try:
        return load_dataset(READERS[path.suffix.lower()], data_files=glob.escape(str(path)), split="train")
    except (DatasetsError, ValueError, OSError) as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        if any(words in str(root) for words in _NO_ROWS):
            raise _empty(path) from error
        found = f"--dataset {path} cannot be read ({first_line(root)})"
        raise DataError(found, "a table with one row a problem") from error


# How `datasets` words a file without rows: one whose reader gives no table, and a Parquet file of 0 rows
_NO_ROWS = ("corresponds to no data", "BatchSize must be greater than 0")


def _empty(path: Path) -> DataError:
    return DataError(f"--dataset {path} is empty", "at least one row")


def _check_delimiter(path: Path) -> None:
    """Raise DataError for a header with semicolons alone, as spreadsheets write where the comma is the decimal sign."""
    try:
        with path.open("rb") as file:
            header = file.readline()
    except OSError:
        return  # the reader says it better
    if b";" in header and b"," not in header:
        raise DataError(
            f"--dataset {path} separates its columns with `;`", "a comma", "save it as CSV with commas, or as JSONL"
        )


def _key(question: str) -> str:
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()
