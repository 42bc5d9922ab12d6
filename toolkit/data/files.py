"""Training and held-out rows from a file: JSONL, JSON, CSV or Parquet; recipes/DATA.md lists the shapes of a row.

One JSONL row: `{"question": "Tom has 3 pens and buys 4. How many?", "answer": "7"}`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from toolkit.data.schema import Problems, Row
from toolkit.data.shapes import Wanted
from toolkit.data.table import Table, read_file
from toolkit.errors import DataError
from toolkit.units import plural

MAX_HELD_OUT_FRAC = 0.2  # of a small file, so that something is left to train on


def load(path: Path, wanted: Wanted, n_held_out: int) -> Problems:
    """Read a file and hold out rows by a hash of the question, the same rows for every training seed.

    At most a fifth of the rows is held out; a question that occurs twice lies on one side only.

    Raises:
        DataError: what `read_file` raises; a file with one question only.
    """
    return split(read_file(path, wanted), path.name, n_held_out)


def split(table: Table, name: str, n_held_out: int) -> Problems:
    """Hold rows out of a table that has no split of its own."""
    n = len(table.rows)
    train, held_out, report = hold_out(table.rows, n_held_out)
    count = f"{n:,} rows read, {len(train):,} to train on, {len(held_out)} held out"
    if len(held_out) < n_held_out:
        count += f" (asked for {n_held_out}, a fifth of the rows is {len(held_out)})"
    return Problems(train, held_out, name, (count, *table.report, *report))


def hold_out(rows: Sequence[Row], n_held_out: int) -> tuple[list[Row], list[Row], list[str]]:
    """Split rows by the hash of their question, and say what repeats; a DataError where fewer than two are distinct."""
    keys = [key_of(row) for row in rows]
    by_hash = sorted(set(keys))
    if len(by_hash) < 2:
        raise DataError(f"{len(by_hash)} distinct question", "at least 2: one to train on, one to measure")
    n = max(1, min(n_held_out, int(len(by_hash) * MAX_HELD_OUT_FRAC)))
    chosen = set(by_hash[:n])
    held_out = {key: row for row, key in zip(rows, keys, strict=True) if key in chosen}
    train = [row for row, key in zip(rows, keys, strict=True) if key not in chosen]
    report = []
    if n_dropped := len(rows) - len(train) - len(held_out):
        report.append(f"{plural(n_dropped, 'row')} dropped: the question is held out already")
    if n_repeated := len(train) - (len(by_hash) - n):
        report.append(f"{plural(n_repeated, 'row')} to train on ask what an earlier row asks")
    return train, list(held_out.values()), report


def key_of(row: Row) -> bytes:
    """What two rows with the same question have in common, on every machine; where the prompt is the dataset's own, it
    is the prompt that is asked."""
    asked = "\n".join(message["content"] for message in row["prompt"]) if row.get("prompt") else row["question"]
    return hashlib.sha256(" ".join(asked.split()).encode()).digest()
