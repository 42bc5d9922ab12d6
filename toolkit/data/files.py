"""Training and held-out rows from a file: JSONL, JSON, CSV or Parquet; recipes/DATA.md lists the shapes of a row.

One JSONL row: `{"question": "Tom has 3 pens and buys 4. How many?", "answer": "7"}`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from toolkit.data.alike import without_alike
from toolkit.data.schema import Problems, Row
from toolkit.data.shapes import Wanted
from toolkit.data.table import Table, read_file
from toolkit.errors import DataError
from toolkit.units import plural

MAX_HELD_OUT_FRAC = 0.2  # of a small file, so that something is left to train on


def load(path: Path, wanted: Wanted, n_held_out: int, n_hidden: int = 0) -> Problems:
    """Read a file and hold out rows by a hash of the question, the same rows for every training seed.

    At most a fifth of the rows is held out, and as many more hidden; a question that occurs twice lies on one side
    only, and training rows that are `alike` with one of the others are dropped.

    Raises:
        DataError: what `read_file` raises; a file with one question only.
    """
    return split(read_file(path, wanted), path.name, n_held_out, n_hidden)


def split(table: Table, name: str, n_held_out: int, n_hidden: int = 0) -> Problems:
    """Hold rows out of a table that has no split of its own."""
    n = len(table.rows)
    train, held_out, hidden, report = hold_out(table.rows, n_held_out, n_hidden)
    count = f"{n:,} rows read, {len(train):,} to train on, {len(held_out)} held out"
    if len(held_out) < n_held_out:
        count += f" (asked for {n_held_out}, a fifth of the rows is {len(held_out)})"
    if n_hidden:
        count += f", {len(hidden)} hidden"
    return Problems(train, held_out, name, (count, *table.report, *report), hidden=hidden)


def hold_out(
    rows: Sequence[Row], n_held_out: int, n_hidden: int = 0
) -> tuple[list[Row], list[Row], list[Row], list[str]]:
    """Split rows by the hash of their question: training, held out, hidden, and a line on each thing that repeats.

    Raises:
        DataError: fewer distinct questions than sides.
    """
    keys = [key_of(row) for row in rows]
    by_hash = sorted(set(keys))
    if len(by_hash) < 2:
        raise DataError(f"{len(by_hash)} distinct question", "at least 2: one to train on, one to measure")
    most = max(1, int(len(by_hash) * MAX_HELD_OUT_FRAC))
    n, n_more = min(n_held_out, most), min(n_hidden, most)
    if len(by_hash) <= n + n_more:
        raise DataError(f"{len(by_hash)} distinct questions", "at least 3 where some are hidden", "drop --n_hidden")
    chosen, more = set(by_hash[:n]), set(by_hash[n : n + n_more])
    held_out = {key: row for row, key in zip(rows, keys, strict=True) if key in chosen}
    hidden = {key: row for row, key in zip(rows, keys, strict=True) if key in more}
    train = [row for row, key in zip(rows, keys, strict=True) if key not in chosen | more]
    report = []
    if n_dropped := len(rows) - len(train) - len(held_out) - len(hidden):
        report.append(f"{plural(n_dropped, 'row')} dropped: the question is held out already")
    if n_repeated := len(train) - (len(by_hash) - n - n_more):
        report.append(f"{plural(n_repeated, 'row')} to train on ask what an earlier row asks")
    others = [*held_out.values(), *hidden.values()]
    train, lines = without_alike(train, others)
    return train, list(held_out.values()), list(hidden.values()), [*report, *lines]


def key_of(row: Row) -> bytes:
    """What two rows with the same question have in common, on every machine; where the prompt is the dataset's own, it
    is the prompt that is asked."""
    asked = "\n".join(message["content"] for message in row["prompt"]) if row.get("prompt") else row["question"]
    return hashlib.sha256(" ".join(asked.split()).encode()).digest()
