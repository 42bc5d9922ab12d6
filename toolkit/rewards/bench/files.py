"""Rows from files, without `datasets`: read as they come, every defect one line with file and line number."""

from __future__ import annotations

import csv
import itertools
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolkit.data.arithmetic import generate
from toolkit.data.prompts import messages
from toolkit.data.schema import Row
from toolkit.errors import DataError, did_you_mean
from toolkit.rewards.answers import parse_gold
from toolkit.rewards.completions import one_line

ARITHMETIC = "arithmetic"
TABLES = (".jsonl", ".json", ".csv", ".parquet")
Numbered = tuple[int, Row]
"""A row, and the line (of a table: the row) that it stands in, counted from 1."""


def read_jsonl(path: Path) -> Iterator[Numbered]:
    """The rows of a JSONL file one by one, however long it is; blank lines are passed over.

    Raises:
        DataError: no such file, or a line that is no JSON object, with its number.
    """
    with _opened(path) as file:
        for number, line in enumerate(_decoded(file, path), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path} line {number} is no JSON: {one_line(line, 40)}", "one JSON object") from error
            if not isinstance(row, dict):
                raise DataError(f"{path} line {number} holds {one_line(line, 40)}", "one JSON object")
            yield number, row


def _opened(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", "a file") from error


def _decoded(file: Any, path: Path) -> Iterator[str]:
    for number in itertools.count(1):
        try:
            line = file.readline()
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8, near line {number}", "a file in UTF-8") from error
        if not line:
            return
        yield line


def read_table(path: Path) -> Iterator[Numbered]:
    """The rows of a JSONL, JSON, CSV or Parquet file.

    Raises:
        DataError: no such file, another kind of file, or one that cannot be read.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DataError(f"--dataset {path} is no file", f"a file, {', '.join(TABLES)}, or {ARITHMETIC}")
    if suffix == ".jsonl":
        yield from read_jsonl(path)
    elif suffix == ".csv":
        with _opened(path) as file:
            yield from ((reader.line_num, row) for reader in [csv.DictReader(_decoded(file, path))] for row in reader)
    elif suffix == ".parquet":
        yield from enumerate(_read_parquet(path), start=1)
    elif suffix == ".json":
        yield from enumerate(_read_json(path), start=1)
    else:
        raise DataError(f"--dataset {path} ends in {suffix or 'nothing'!r}", f"one of {', '.join(TABLES)}")


def _read_json(path: Path) -> list[Row]:
    with _opened(path) as file:
        try:
            rows = json.load(file)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is no JSON ({one_line(str(error), 80)})", "a list of objects") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} holds no list of objects", "[{...}, ...], or one object a line in a .jsonl file")
    return rows


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read ({one_line(str(error), 80)})", "a Parquet file") from error


def training_rows(dataset: str, n_rows: int, gold_column: str = "answer") -> tuple[list[Row], bool]:
    """The first `n_rows` rows with different prompts, as training would pass them, and whether the prompts are theirs.

    A row with `prompt` stays as it is. One with `question` becomes a row of the recipes: their system prompt, and of a
    worked answer (GSM8K's, which ends in `#### 18`) the bare number. `arithmetic` needs no file.

    Raises:
        DataError: what `read_table` raises; a row with neither column; no row at all.
    """
    rows: dict[str, Row] = {}
    prompts_are_given = False
    for number, row in _rows_of(dataset):
        prompts_are_given |= row.get("prompt") is not None
        made = _as_in_training(row, f"{dataset} row {number}", gold_column)
        rows.setdefault(repr(made["prompt"]), made)
        if len(rows) >= n_rows:
            break
    if not rows:
        raise DataError(f"--dataset {dataset} has no rows", "at least one")
    return list(rows.values()), prompts_are_given


def _rows_of(dataset: str) -> Iterator[Numbered]:
    if dataset == ARITHMETIC:
        return enumerate(_generated(), start=1)
    return read_table(Path(dataset).expanduser())


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
        hint = did_you_mean("question", row) or f"a `prompt` or a `question` beside {', '.join(map(str, row))}"
        raise DataError(f"{where} has no prompt", hint)
    gold = row.get(gold_column)
    made = row | {"prompt": messages(question.strip())}
    return made if gold is None else made | {gold_column: bare(str(gold))}


def bare(gold: str) -> str:
    """GSM8K's worked answer as the number after its last `####`; any other as it is."""
    number = gold.rpartition("####")[2].strip()
    return number if "####" in gold and parse_gold(number) is not None else gold


def named(row: Mapping[str, Any], column: str, where: str) -> Any:
    """A row's value in a column that it must have.

    Raises:
        DataError: it is not there, with the nearest name that is.
    """
    if column not in row:
        known = ", ".join(map(str, row)) or "none"
        raise DataError(f"{where} has no {column!r}", did_you_mean(column, row) or f"it beside {known}")
    return row[column]
