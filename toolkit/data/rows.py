"""Rows from a file, one after the other: JSONL, JSON, CSV or Parquet; every defect is one line that says where.

A CSV's cells are text, as they are written. A `.json` file holds a list of objects, by itself or under one name
(`{"data": [...]}`), a list for each column, or, like a `.jsonl` file, one object a line. All but Parquet may be gzipped
(`.jsonl.gz`), and in UTF-8 or, with its mark at the start, UTF-16 or UTF-32.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from toolkit.data.schema import Row
from toolkit.errors import DataError, first_line
from toolkit.rewards.answers import find_answer, gold_list

Numbered = tuple[int, Row]
"""A row and its number, from 1: of its line in a file of lines, else its own (see `place`)."""
OnBad = Callable[[DataError], None]
"""Told of a line that is no row; without it the line is raised."""
MAX_SHOWN = 60  # characters of a user's value in an error
_OBJECTS = "one JSON object a line, or a list of objects"
_MARKS = {
    **dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),  # before UTF-16, whose mark it begins with
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
}
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of other bytes


def read(path: Path, on_bad: OnBad | None = None) -> Iterator[Numbered]:
    """The rows of a file one by one, however long it is. What is no regular file, such as a pipe, is read as JSONL.

    Raises:
        DataError: no such file, a folder, an unknown ending, a file that cannot be read or has no rows, a column that
            is named twice, or a line that is no row, unless `on_bad` is told of it and the next line can be read.
    """
    if not os.path.exists(path):  # Path.exists raises for a name longer than the file system takes
        raise DataError(f"{path} does not exist", f"a file, {ENDINGS}")
    if path.is_dir():
        raise DataError(f"{path} is a folder", f"a file, {ENDINGS}", "name one file in it")
    ending = _ending(path) if path.is_file() else ".jsonl"
    if ending not in _READERS:
        raise DataError(f"{path} ends in {path.suffix or 'nothing'!r}", f"one of {ENDINGS}")
    is_empty = True
    for number, row in _READERS[ending](path, on_bad):
        is_empty = is_empty and not row
        yield number, row
    if is_empty and on_bad is None:  # else there may have been lines, and whoever was told of them says so
        raise DataError(f"{path} is empty", "at least one row")


def place(path: Path, number: int) -> str:
    """Where a row stands, for an error: `a.jsonl line 3`, `a.parquet row 3`."""
    return f"{path} {'row' if _ending(path) in ('.json', '.parquet') else 'line'} {number}"


def _ending(path: Path) -> str:
    """What decides the format: of `a.jsonl.gz` it is `.jsonl`."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz") if not name.endswith(".parquet.gz") else name).suffix


def bare_gold(answer: object) -> str:
    """A gold answer as a person would write it; of a worked one, what follows GSM8K's last `####`, or its last box.

    `18` for 18.0, no exponent, nothing for a missing one (None; NaN in Parquet). A list of one is that one; of several
    each counts as right (`rewards.answers.golds`).
    """
    if isinstance(answer, (list, tuple)):
        return gold_list([bare_gold(item) for item in answer])
    if answer is None or (isinstance(answer, float) and math.isnan(answer)):
        return ""
    if isinstance(answer, (float, Decimal)) and math.isfinite(answer):
        return str(int(answer)) if answer == int(answer) else format(Decimal(str(answer)), "f")
    text = str(answer)
    before, _, after = text.rpartition("####")
    boxed = None if before or after != text else find_answer(text, ("boxed",))
    return (after if boxed is None else boxed).strip()


def shown(text: str) -> str:
    """A user's value as an error shows it."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 5] + "[...]"


def _lines(path: Path) -> Iterator[str]:
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.isascii() and (found := _NOT_UTF8.search(line)):
                    byte = ord(found[0]) - 0xDC00
                    was = f"byte 0x{byte:x}, {bytes([byte]).decode('latin-1')!r} in Latin-1"
                    remedy = f"save it as UTF-8, for example: iconv -f LATIN1 -t UTF-8 {path.name}"
                    raise DataError(f"{path} line {number} is not UTF-8 ({was})", "a file in UTF-8", remedy)
                if number == 1 and "\0" in line:
                    remedy = f"save it as UTF-8, for example: iconv -f UTF-16LE -t UTF-8 {path.name}"
                    raise DataError(f"{path} line 1 has NUL characters, as UTF-16 does", "a file in UTF-8", remedy)
                yield line
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {error.encoding.upper()}, which its first bytes say", "a file in UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        found = f"{path} cannot be unpacked ({first_line(error)})"
        raise DataError(found, "a whole gzip file", "fetch or pack it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", "a file that can be read") from error


def _opened(path: Path) -> io.TextIOWrapper:
    """The file as text, in UTF-8 unless the mark at its start says otherwise."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    file = cast(io.BufferedReader, opener(path, "rb"))  # both have `peek`; the text file closes it
    start = file.peek(4)
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    encoding, errors = (marked, "strict") if marked else ("utf-8-sig", "surrogateescape")
    return io.TextIOWrapper(cast(IO[bytes], file), encoding=encoding, errors=errors, newline="")


def _read_json(path: Path, on_bad: OnBad | None) -> Iterator[Numbered]:
    lines = enumerate(_lines(path), start=1)
    head = list(islice(((number, line) for number, line in lines if line.strip()), 2))
    if head and _is_one_document(head, _ending(path)):
        (first, _), *second = head  # the blank lines before them count
        blank = "\n" * (first - 1), *("\n" * (number - first - 1) for number, _ in second)
        start = chain.from_iterable(zip(blank, (line for _, line in head), strict=True))
        table = _table(_parsed("".join(chain(start, (line for _, line in lines))), path), path)
        table.reverse()  # and taken from the end, so that no row is held twice
        for number in range(1, len(table) + 1):
            yield number, _object(table.pop(), f"{path} row {number}")
        return
    for number, line in chain(head, lines):
        if line.strip():
            try:
                row = _object(_parsed(line, path, number), f"{path} line {number}")
            except DataError as error:
                if on_bad is None:
                    raise
                on_bad(error)
            else:
                yield number, row


def _is_one_document(head: list[tuple[int, str]], ending: str) -> bool:
    """Whether a file whose first two lines these are is JSON as a whole: a list, or an object over many lines."""
    first = head[0][1].lstrip()
    if ending == ".jsonl" or not first.startswith("{"):
        return first.startswith("[")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return len(head) > 1
    return len(head) == 1


def _table(value: Any, path: Path) -> list[Any]:
    """The rows in what a whole file says."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return [value]  # which `_object` refuses
    names = [name for name, held in value.items() if isinstance(held, list) and held and isinstance(held[0], dict)]
    if len(names) > 1:
        found = f"{path} holds {len(names)} lists of objects, {', '.join(map(shown, names))}"
        raise DataError(found, "one", "save the one to train on as a file of its own")
    if names:
        return value[names[0]]
    if _are_columns(value):
        return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    return [value] if value else []


def _are_columns(value: Row) -> bool:
    """Whether it is a list for each column, all of one length, as a table is saved by columns."""
    lengths = {len(held) if isinstance(held, list) else -1 for held in value.values()}
    return len(value) > 1 and len(lengths) == 1 and min(lengths) > 0


def _parsed(text: str, path: Path, line: int | None = None) -> Any:
    """What a line says, or without `line` the whole file."""
    remedy = "fix the file"
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        rest, line = text[error.pos : error.pos + 20].strip(), line or error.lineno
        why = f"{error.msg}, at {repr(rest) if rest else 'its end'}"
        after_comma = text[: error.pos].rstrip().endswith(",") and rest[:1] in ("]", "}")
        if after_comma or "trailing comma" in error.msg or text[error.pos :].strip() == ",":  # the words since 3.13
            why, remedy = f"a comma after the last value, at {rest!r}", "remove that comma"
    except (ValueError, RecursionError) as error:  # a name twice, too many digits, nested too deep
        why = first_line(error)
    where = f"{path} line {line}" if line else str(path)
    raise DataError(f"{where} is not JSON ({why})", _OBJECTS, remedy)


def _once(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{_twice([name for name, _ in pairs])!r} occurs twice in one object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)  # `json.loads` would make one for every line


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where} holds {shown(json.dumps(value))}", _OBJECTS, "fix the file")
    return value


def _read_csv(path: Path, on_bad: OnBad | None) -> Iterator[Numbered]:
    reader = csv.reader(_lines(path), strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            if not columns:
                columns = _header(cells, path)
            elif len(cells) > len(columns):
                found = f"{path} line {reader.line_num} has {len(cells)} cells, and the header {len(columns)}"
                error = DataError(found, "one cell a column", "put text that has a comma in quotes")
                if on_bad is None:
                    raise error
                on_bad(error)
            elif cells:  # no blank line
                given = dict(zip(columns, cells, strict=False))
                yield reader.line_num, {name: given.get(name) for name in columns if name}
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} is not CSV ({error})", 'commas, and `"` around text') from error


def _header(cells: list[str], path: Path) -> list[str]:
    """The names of the columns; a column without a name, such as an index, is left out of the rows."""
    # `;` is what spreadsheets write where the comma is the decimal sign
    if other := next((mark for mark in ";\t|" if len(cells) == 1 and mark in cells[0]), ""):
        found = f"{path} separates its columns with {'a tab' if other == chr(9) else f'`{other}`'}"
        raise DataError(found, "a comma", "save it as CSV with commas, or as JSONL")
    _refuse_twice(cells, path)
    return cells


def _read_parquet(path: Path, _: OnBad | None) -> Iterator[Numbered]:
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
ENDINGS = ", ".join(_READERS)
