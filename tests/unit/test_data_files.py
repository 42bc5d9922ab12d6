"""Tables from files: every format, renamed columns, and rows that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.data import files
from toolkit.errors import DataError

ROWS: list[dict[str, object]] = [{"q": f"What is {i} plus 1?", "a": str(i + 1)} for i in range(20)]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        path.write_text("q,a\n" + "".join(f"{row['q']},{row['a']}\n" for row in rows))
    else:
        from datasets import Dataset

        Dataset.from_list(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    problems = files.load(write(tmp_path / f"rows{suffix}", ROWS), "q", "a", n_held_out=4)
    rows = problems.train + problems.held_out
    assert {(row["question"], row["answer"]) for row in rows} == {(row["q"], row["a"]) for row in ROWS}
    assert len(problems.held_out) == 4


def test_a_question_that_occurs_twice_lies_on_one_side() -> None:
    rows = [{"question": f"What is {i // 2}?", "answer": "1", "prompt": []} for i in range(40)]
    train, held_out = files.hold_out(rows, 4)
    assert {r["question"] for r in train}.isdisjoint(r["question"] for r in held_out)
    assert len(held_out) == 4
    assert len(train) == 32


def test_at_most_a_fifth_is_held_out(tmp_path: Path) -> None:
    problems = files.load(write(tmp_path / "rows.jsonl", ROWS), "q", "a", n_held_out=256)
    assert len(problems.held_out) == 4


@pytest.mark.parametrize(
    ("rows", "question", "answer", "said"),
    [
        (ROWS, "question", "a", "no column 'question'"),
        ([{"question": "x", "anser": "1"}], "question", "answer", "did you mean anser"),
        ([*ROWS[:6], {"q": "How?", "a": "many"}], "q", "a", "row 7: gold answer 'many' is not one number"),
        ([*ROWS[:2], {"q": "", "a": "1"}], "q", "a", "row 3: column 'q' holds ''"),
        (ROWS[:1], "q", "a", "1 distinct question"),
    ],
)
def test_unusable_rows_are_named(
    rows: list[dict[str, object]], question: str, answer: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        files.load(write(tmp_path / "rows.jsonl", rows), question, answer, 4)
    assert said in str(caught.value)
