"""A table as rows to train on, read in one pass, with what a user should know of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from toolkit.data import rows
from toolkit.data.faults import Faults, Unusable
from toolkit.data.rows import Numbered
from toolkit.data.schema import Row
from toolkit.data.shapes import Wanted, shape_of
from toolkit.errors import DataError

N_PEEKED = 1000
"""Rows that decide what the columns are."""
N_COMPARED = 2000
"""Rows in which the gold answer is looked for."""


@dataclass(frozen=True)
class Table:
    """Rows to train on, without their prompts unless these are the dataset's own."""

    rows: list[Row]
    report: list[str]


def read_file(path: Path, wanted: Wanted = Wanted(), n_rows: int | None = None) -> Table:  # noqa: B008 - it is frozen
    """The rows of a file as training reads them; with `n_rows`, no more than so many, and no more is read.

    Raises:
        DataError: what `rows.read` and `table_of` raise.
    """
    faults = Faults()

    def unread(error: DataError) -> None:
        faults.add(str(path), Unusable("a line that is no row", error.found, error.wanted, error.next_step))

    numbered = rows.read(path, unread if wanted.drop_bad_rows else None)
    return table_of(islice(numbered, n_rows), str(path), lambda n: rows.place(path, n), wanted, faults)


def table_of(
    numbered: Iterable[Numbered], source: str, place: Callable[[int], str], wanted: Wanted, faults: Faults | None = None
) -> Table:
    """Rows to train on out of the rows of `source`; `faults` may hold what was wrong before.

    Raises:
        DataError: what `shape_of` raises; a row that cannot be used, unless those are dropped and one is left.
    """
    numbered, faults = iter(numbered), faults or Faults()
    head = list(islice(numbered, N_PEEKED))
    if not any(row for _, row in head):
        raise faults.refused(is_any_left=False) if faults.n else DataError(f"{source} is empty", "at least one row")
    shape, report = shape_of([row for _, row in head], wanted, source)
    made: list[Row] = []
    for number, row in chain(head, numbered):
        try:
            made.append(shape.made(row))
        except Unusable as why:
            faults.add(place(number), why)
    if faults.n and not (made and wanted.drop_bad_rows):
        raise faults.refused(is_any_left=bool(made))
    if faults.n:
        report.append(faults.report())
    return Table(made, [*report, *_told(made)])


def _told(made: Sequence[Row]) -> list[str]:
    """A line where gold answers stand in their questions, and more often than another row's would."""
    pairs = [(row["question"], row["answer"]) for row in made[:N_COMPARED] if row.get("answer")]
    if len(pairs) < 2:
        return []
    own = sum(_stands_in(gold, question) for question, gold in pairs) / len(pairs)
    others = zip(pairs, [*pairs[1:], pairs[0]], strict=True)
    chance = sum(_stands_in(gold, question) for (question, _), (_, gold) in others) / len(pairs)
    if own <= 0.5 or own - chance < 0.25:
        return []
    return [
        f"the gold answer stands word for word in {own:.0%} of the questions (another row's in {chance:.0%}): "
        "the model can copy it; is --question_column right?"
    ]


def _stands_in(gold: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", text, re.IGNORECASE) is not None
