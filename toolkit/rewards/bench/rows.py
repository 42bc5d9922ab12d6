"""Rows for a check: those of a file or generated ones, as training would pass them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from toolkit.data import rows
from toolkit.data.arithmetic import ARITHMETIC, generate
from toolkit.data.schema import Row, messages
from toolkit.errors import DataError, did_you_mean


def training_rows(dataset: str, n_rows: int, gold_column: str = "answer") -> tuple[list[Row], bool]:
    """The first `n_rows` rows with different prompts, as training would pass them, and whether the prompts are theirs.

    A row with `prompt` stays as it is. One with `question` becomes a row of the recipes: their system prompt, and its
    gold answer bare. `arithmetic` needs no file.

    Raises:
        DataError: what `rows.read` raises; a row with neither column.
    """
    path, found = Path(dataset).expanduser(), {}
    prompts_are_given = False
    numbered = enumerate(_generated(), start=1) if dataset == ARITHMETIC else rows.read(path)
    for number, row in numbered:
        prompts_are_given |= row.get("prompt") is not None
        made = _as_in_training(row, rows.place(path, number), gold_column)
        found.setdefault(repr(made["prompt"]), made)
        if len(found) >= n_rows:
            break
    return list(found.values()), prompts_are_given


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
        hint = did_you_mean("question", row) or f"a `prompt` or a `question` beside {', '.join(row)}"
        raise DataError(f"{where} has no prompt", hint)
    gold = row.get(gold_column)
    made = row | {"prompt": messages(question.strip())}
    return made if gold is None else made | {gold_column: rows.bare_gold(gold)}
