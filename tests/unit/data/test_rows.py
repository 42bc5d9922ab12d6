"""The one reader of rows: every format, and every defect in one line that the trainer and the bench say alike."""

from __future__ import annotations

import json
import os
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from tests.paths import GOLDEN
from toolkit import cli
from toolkit.data import files
from toolkit.data.rows import bare_gold, place, read
from toolkit.data.shapes import Wanted
from toolkit.errors import DataError
from toolkit.rewards.bench.subject import training_rows

A, B = '{"question": "What is 1?", "answer": "1"}', '{"question": "What is 2?", "answer": "2"}'
ROWS = [{"question": "What is 1?", "answer": "1"}, {"question": "What is 2?", "answer": "2"}]
HELD_OUT = ["4", "5", "6", "14"]  # by the reader of datasets, which this one took the place of
BOM = b"\xef\xbb\xbf"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


@pytest.mark.parametrize(
    ("name", "content", "numbers"),
    [
        ("a.jsonl", f"{A}\n\n{B}\n", [1, 3]),
        ("a.JSONL", f"{A}\r\n{B}", [1, 2]),
        ("bom.jsonl", BOM + f"{A}\n{B}\n".encode(), [1, 2]),
        ("a.json", f"\n[{A},\n{B}]", [1, 2]),
        ("list.jsonl", f"[{A}, {B}]", [1, 2]),
        ("lines.json", f"{A}\n{B}\n", [1, 2]),
        ("a.csv", "question,answer\nWhat is 1?,1\n\nWhat is 2?,2\n", [2, 4]),
        ("bom.csv", BOM + b'"question",answer\nWhat is 1?,1\nWhat is 2?,2\n', [2, 3]),
        ("mac.csv", "question,answer\rWhat is 1?,1\rWhat is 2?,2\r", [2, 3]),
        ("index.csv", ",question,answer\n0,What is 1?,1\n1,What is 2?,2\n", [2, 3]),
    ],
)
def test_rows_come_with_the_line_or_row_that_they_stand_in(
    name: str, content: str | bytes, numbers: list[int], tmp_path: Path
) -> None:
    assert list(read(write(tmp_path, name, content))) == list(zip(numbers, ROWS, strict=True))


def test_parquet_is_read_in_its_own_types(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"question": ["a", "b"], "answer": [1.5, None]}), tmp_path / "a.parquet")
    assert list(read(tmp_path / "a.parquet")) == [
        (1, {"question": "a", "answer": 1.5}),
        (2, {"question": "b", "answer": None}),
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_as_jsonl(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(f"{A}\n{B}\n"))
    writer.start()
    assert [row for _, row in read(tmp_path / "pipe")] == ROWS
    writer.join()


DEFECTS: dict[str, tuple[str, str | bytes, str]] = {
    "broken JSON": ("a.jsonl", f'{A}\n{{"question": \n', "a.jsonl line 2 is not JSON (Expecting value, at its end)"),
    "comma after the last": ("a.json", f"[{A},\n{B},\n]", "a.json line 3 is not JSON (a comma after the last value"),
    "two objects on a line": ("a.jsonl", f"{A} {B}", "line 1 is not JSON (Extra data, at '{\"question\": \"What i')"),
    "nested too deep": ("a.jsonl", "[" * 100_000, "a.jsonl is not JSON (maximum recursion depth exceeded"),
    "a number too long": ("a.jsonl", f'{{"answer": {"9" * 5000}}}', "line 1 is not JSON (Exceeds the limit"),
    "a name twice": ("a.jsonl", '{"answer": 1, "answer": 2}', "line 1 is not JSON ('answer' occurs twice in"),
    "no object": ("a.jsonl", f"{A}\n5\n", "a.jsonl line 2 holds 5; wanted one JSON object a line"),
    "no object in a list": ("a.json", f"[{A}, null]", "a.json row 2 holds null"),
    "Latin-1": ("a.jsonl", A.encode() + b'\n{"question": "caf\xe9"}', "a.jsonl line 2 is not UTF-8 (byte 0xe9"),
    "UTF-16 without its mark": ("a.csv", "question,answer\n1,1\n".encode("utf-16-le"), "line 1 has NUL characters, as"),
    "a column twice": ("a.csv", "question,answer,answer\nWhat is 1?,1,2\n", "a.csv has two columns 'answer'; wanted"),
    "semicolons": ("a.csv", "question;answer\nWhat is 1?;1\n", "separates its columns with `;`; wanted a comma"),
    "a comma too many": (
        "a.csv", "question,answer\nTom has 3, how many?,3\n", "a.csv line 2 has 3 cells, and the header 2",
    ),
    "quotes that do not end": ("a.csv", 'question,answer\n"What is 1?,1\n', "a.csv line 2 is not CSV (unexpected end"),
    "not Parquet": ("a.parquet", "question,answer\n", "a.parquet cannot be read (Parquet magic bytes not found"),
    "nothing": ("a.jsonl", "", "a.jsonl is empty; wanted at least one row"),
    "blank lines": ("a.csv", "\n\n", "a.csv is empty; wanted at least one row"),
    "a header alone": ("a.csv", "question,answer\n", "a.csv is empty; wanted at least one row"),
    "an unknown ending": ("a.txt", A, "a.txt ends in '.txt'; wanted one of .jsonl, .json, .csv, .parquet"),
    "no ending": ("rows", A, "rows ends in 'nothing'; wanted one of .jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_trainer_and_bench_say_the_same_of_a_defect(
    defect: tuple[str, str | bytes, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, *defect[:2])
    with pytest.raises(DataError) as trainer:
        files.load(path, Wanted(), 1)
    with pytest.raises(DataError) as bench:
        training_rows(str(path), 64)
    assert defect[2] in str(trainer.value)
    assert "\n" not in str(trainer.value)
    assert str(bench.value) == str(trainer.value)
    assert cli.main(["reward", "stats", str(path)]) == 2
    if "line 2" not in defect[2] and "row 2" not in defect[2]:  # else line 1, which has no scores, is said first
        assert capsys.readouterr().err.strip() == str(trainer.value)


def test_what_is_no_file_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.csv does not exist; wanted a file, \.jsonl"):
        list(read(tmp_path / "no.csv"))
    with pytest.raises(DataError, match="is a folder; wanted a file"):
        list(read(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        list(read(Path("x" * 300 + ".jsonl")))


def test_a_place_is_a_line_or_a_row() -> None:
    assert [place(Path(name), 3) for name in ("a.csv", "a.jsonl", "a.parquet", "a.json")] == [
        "a.csv line 3",
        "a.jsonl line 3",
        "a.parquet row 3",
        "a.json row 3",
    ]


@pytest.mark.parametrize(
    ("answer", "bare"),
    [
        (7, "7"), (18.0, "18"), (-0.5, "-0.5"), (1e-7, "0.0000001"), (Decimal("2.50"), "2.50"), (Decimal("3.00"), "3"),
        (None, ""), (float("nan"), ""), (" 18 ", "18"), ("9*2=18\n#### 18", "18"), ("so\n####", ""), ("1,250", "1,250"),
        (True, "True"), (["4"], "4"), ([4.0], "4"), (["so\n#### 4", None], "4"), ([], ""), ([4, "5"], '["4", "5"]'),
    ],
)  # fmt: skip
def test_a_gold_answer_is_bare(answer: object, bare: str) -> None:
    assert bare_gold(answer) == bare


def test_the_split_of_a_file_is_what_it_always_was() -> None:
    problems = files.load(GOLDEN / "problems.jsonl", Wanted(), 8)
    (held_out,) = problems.held_out
    assert held_out["question"] == "A school orders 50 chairs at $25 each. What does it pay, in dollars?"
    assert held_out["answer"] == "1,250"
    assert [row["answer"] for row in problems.train] == ["88", "12", "60", "17", "306"]


def test_the_split_goes_by_the_question_alone(tmp_path: Path) -> None:
    table = [{"question": f"What is {i} plus 1?", "answer": i + 1} for i in range(20)]
    path = write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in table))
    held_out = files.load(path, Wanted(), 4).held_out
    assert [row["answer"] for row in held_out] == HELD_OUT
    path = write(
        tmp_path, "a.csv", "answer,question\n" + "".join(f"{row['answer']},{row['question']}\n" for row in table[::-1])
    )
    assert sorted(row["answer"] for row in files.load(path, Wanted(), 4).held_out) == sorted(HELD_OUT)
