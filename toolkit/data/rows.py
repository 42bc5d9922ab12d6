"""Rows from a file, one after the other: JSONL, JSON, CSV or Parquet; every defect is one line that says where.

A CSV's cells are text, as they are written. A `.json` file holds a list of objects or, like a `.jsonl` file, one object
a line: both are common under either name.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from toolkit.data.schema import Row
from toolkit.errors import DataError, first_line
from toolkit.rewards.answers import gold_list

Numbered = tuple[int, Row]
"""A row and its number, from 1: of its line in a file of lines, else its own (see `place`)."""
MAX_SHOWN = 60  # characters of a user's value in an error
_OBJECTS = "one JSON object a line, or a list of objects"
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of other bytes


def read(path: Path) -> Iterator[Numbered]:
    """The rows of a file one by one, however long it is. What is no regular file, such as a pipe, is read as JSONL.

    Raises:
        DataError: no such file, a folder, an unknown ending, a file that cannot be read or has no rows, or a column
            that is named twice.
    """
    endings = ", ".join(_READERS)
    if not os.path.exists(path):  # Path.exists raises for a name longer than the file system takes
        raise DataError(f"{path} does not exist", f"a file, {endings}")
    if path.is_dir():
        raise DataError(f"{path} is a folder", f"a file, {endings}", "name one file in it")
    ending = path.suffix.lower() if path.is_file() else ".jsonl"
    if ending not in _READERS:
        raise DataError(f"{path} ends in {path.suffix or 'nothing'!r}", f"one of {endings}")
    is_empty = True
    for number, row in _READERS[ending](path):
        is_empty = is_empty and not row
        yield number, row
    if is_empty:
        raise DataError(f"{path} is empty", "at least one row")


def place(path: Path, number: int) -> str:
    """Where a row stands, for an error: `a.jsonl line 3`, `a.parquet row 3`."""
    return f"{path} {'row' if path.suffix.lower() in ('.json', '.parquet') else 'line'} {number}"


def bare_gold(answer: object) -> str:
    """A gold answer as a person would write it, which of a worked answer is what follows GSM8K's last `####`.

    `18` for 18.0, no exponent, nothing for a missing one (None; NaN in Parquet). A list of one is that one; of several
    each counts as right (`rewards.answers.golds`).
    """
    if isinstance(answer, (list, tuple)):
        return gold_list([bare_gold(item) for item in answer])
    if answer is None or (isinstance(answer, float) and math.isnan(answer)):
        return ""
    if isinstance(answer, (float, Decimal)) and math.isfinite(answer):
        return str(int(answer)) if answer == int(answer) else format(Decimal(str(answer)), "f")
    return str(answer).rpartition("####")[2].strip()


def shown(text: str) -> str:
    """A user's value as an error shows it."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 5] + "[...]"


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for number, line in enumerate(file, start=1):
                if _NOT_UTF8.search(line):
                    raise DataError(f"{path} line {number} is not UTF-8", "a file in UTF-8", "save it as UTF-8")
                yield line
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", "a file that can be read") from error


def _read_json(path: Path) -> Iterator[Numbered]:
    lines = enumerate(_lines(path), start=1)
    first, head = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    if head.lstrip().startswith("["):
        text = "\n" * (first - 1) + head + "".join(line for _, line in lines)
        yield from ((n, _object(row, f"{path} row {n}")) for n, row in enumerate(_parsed(text, path), start=1))
        return
    for number, line in chain([(first, head)], lines):
        if line.strip():
            yield number, _object(_parsed(line, path, number), f"{path} line {number}")


def _parsed(text: str, path: Path, line: int | None = None) -> Any:
    """What a line says, or without `line` the whole file."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        rest = text[error.pos : error.pos + 20].strip()
        why, line = f"{error.msg}, at {repr(rest) if rest else 'its end'}", line or error.lineno
    except (ValueError, RecursionError) as error:  # a name twice, too many digits, nested too deep
        why = first_line(error)
    where = f"{path} line {line}" if line else str(path)
    raise DataError(f"{where} is not JSON ({why})", _OBJECTS, "fix the file")


def _once(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{_twice([name for name, _ in pairs])!r} occurs twice in one object")
    return found


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where} holds {shown(json.dumps(value))}", _OBJECTS, "fix the file")
    return value


def _read_csv(path: Path) -> Iterator[Numbered]:
    reader = csv.reader(_lines(path), strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            if not columns:
                columns = _header(cells, path)
            elif len(cells) > len(columns):
                found = f"{path} line {reader.line_num} has {len(cells)} cells, and the header {len(columns)}"
                raise DataError(found, "one cell a column", "put text that has a comma in quotes")
            elif cells:  # no blank line
                given = dict(zip(columns, cells, strict=False))
                yield reader.line_num, {name: given.get(name) for name in columns if name}
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} is not CSV ({error})", 'commas, and `"` around text') from error


def _header(cells: list[str], path: Path) -> list[str]:
    """The names of the columns; a column without a name, such as an index, is left out of the rows."""
    if len(cells) == 1 and ";" in cells[0]:  # as spreadsheets write where the comma is the decimal sign
        found = f"{path} separates its columns with `;`"
        raise DataError(found, "a comma", "save it as CSV with commas, or as JSONL")
    _refuse_twice(cells, path)
    return cells


def _read_parquet(path: Path) -> Iterator[Numbered]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        _refuse_twice(file.schema_arrow.names, path)
        batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=256))
        yield from enumerate(chain.from_iterable(batches), start=1)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read ({first_line(error)})", "a Parquet file") from error


def _refuse_twice(columns: Sequence[str], path: Path) -> None:
    if name := _twice(columns):
        raise DataError(f"{path} has two columns {shown(name)!r}", "each name once", "rename or remove one of them")


def _twice(names: Sequence[str]) -> str:
    """The first name that occurs twice; empty where none does."""
    return next((name for name, n in Counter(names).items() if name and n > 1), "")


_READERS = {".jsonl": _read_json, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}
