"""Tables from files: every format, renamed columns, and rows that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit import data
from toolkit.data import arithmetic, files
from toolkit.data.shapes import Wanted
from toolkit.errors import DataError, ModelError
from toolkit.models import locate
from toolkit.rewards import is_number
from toolkit.settings import DataSettings

ROWS: list[dict[str, object]] = [{"q": f"What is {i} plus 1?", "a": str(i + 1)} for i in range(20)]
Q_A = Wanted("q", "a")


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
    problems = files.load(write(tmp_path / f"rows{suffix}", ROWS), Q_A, 4)
    rows = problems.train + problems.held_out
    assert {(row["question"], row["answer"]) for row in rows} == {(row["q"], row["a"]) for row in ROWS}
    assert len(problems.held_out) == 4


def test_a_question_that_occurs_twice_lies_on_one_side() -> None:
    rows = [{"question": f"What is {i // 2}?", "answer": "1", "prompt": []} for i in range(40)]
    train, held_out, _hidden, _ = files.hold_out(rows, 4)
    assert {r["question"] for r in train}.isdisjoint(r["question"] for r in held_out)
    assert len(held_out) == 4
    assert len(train) == 32


def test_at_most_a_fifth_is_held_out(tmp_path: Path) -> None:
    problems = files.load(write(tmp_path / "rows.jsonl", ROWS), Q_A, 256)
    assert len(problems.held_out) == 4


@pytest.mark.parametrize(
    ("rows", "question", "answer", "said"),
    [
        (ROWS, "question", "a", "no column 'question'"),
        ([{"question": "x", "anser": "1"}], "question", "answer", "did you mean anser"),
        ([*ROWS[:6], {"q": "How?", "a": "many"}], "q", "a", "line 7: gold answer 'many' is not one number"),
        ([*ROWS[:2], {"q": "", "a": "1"}], "q", "a", "line 3: column 'q' holds ''"),
        (ROWS[:1], "q", "a", "1 distinct question"),
        ([*ROWS[:6], {"q": "How?", "a": None}], "q", "a", "line 7: no gold answer"),
        ([*ROWS[:6], {"q": "How?", "a": " "}], "q", "a", "line 7: no gold answer"),
        ([*ROWS[:6], {"q": "How?", "a": "so\n####"}], "q", "a", "line 7: no gold answer"),
        ([*ROWS[:6], {"q": "How?", "a": "many " * 99}], "q", "a", f"gold answer '{('many ' * 99)[:55]}[...]' is not"),
        ([{"q": [7] * 999, "a": "1"}], "q", "a", f"line 1: column 'q' holds {str([7] * 99)[:55]}[...];"),
        ([{"c" * 999: "x"}], "q", "a", f"one of {'c' * 55}[...];"),
    ],
)
def test_unusable_rows_are_named(
    rows: list[dict[str, object]], question: str, answer: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        files.load(write(tmp_path / "rows.jsonl", rows), Wanted(question, answer, is_gold=is_number), 4)
    assert said in str(caught.value)


def test_a_gold_answer_need_not_be_a_number(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"q": f"What is {i}?", "a": "many\n#### a few"} for i in range(5)]
    path = write(tmp_path / "rows.jsonl", rows)
    assert {row["answer"] for row in files.load(path, Q_A, 1).train} == {"a few"}
    settings = DataSettings(dataset=str(path), question_column="q", answer_column="a")
    assert len(data.load(settings, 0).train) == 4
    with pytest.raises(DataError, match=r"line 1: gold answer 'a few' is not one number \(5 rows like it\); wanted a"):
        data.load(settings, 0, is_gold=is_number)
    with pytest.raises(DataError, match="line 1: gold answer 'a few' is not one usable answer"):
        data.load(settings, 0, is_gold=lambda gold: gold in ("yes", "no"))


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*ROWS, {"q": "What is \ud83d?", "a": "1"}]
    with pytest.raises(DataError, match="line 21: the row has half a character in it"):
        files.load(write(tmp_path / "rows.jsonl", rows), Q_A, 1)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [(18.0, "18"), (4e18, "4000000000000000000"), (-0.5, "-0.5"), (1e-7, "0.0000001"), (7, "7"), (2.5e3, "2500")],
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_numbers_as_answers_are_bare(suffix: str, answer: float, shown: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"q": f"What is {i}?", "a": answer} for i in range(4)]
    problems = files.load(write(tmp_path / f"rows{suffix}", rows), Q_A, 1)
    assert {row["answer"] for row in problems.train} == {shown}


def test_a_missing_answer_among_numbers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("q,a\nWhat is 1?,1\nWhat is 2?,2\nWhat is 3?,\n")
    with pytest.raises(DataError, match="line 4: no gold answer"):
        files.load(path, Q_A, 1)
    rows: list[dict[str, object]] = [{"q": "What is 1?", "a": 1.0}, {"q": "What is 2?", "a": float("nan")}]
    with pytest.raises(DataError, match="row 2: no gold answer"):
        files.load(write(tmp_path / "rows.parquet", rows), Q_A, 1)


@pytest.mark.parametrize("name", ["x[1].jsonl", "[a]/x?*.jsonl", "x{1}.csv", "a b #%20.json"])
def test_a_name_with_glob_characters_is_a_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    assert files.load(write(path, ROWS), Q_A, 4).name == path.name


@pytest.mark.parametrize("name", ["d.jsonl", "plain"])
def test_a_folder_is_said_to_be_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=f"{name} is a folder; wanted a file, .jsonl"):
        data.load(DataSettings(dataset=str(tmp_path / name)), seed=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.jsonl", ""),
        ("e2.jsonl", "\n\n"),
        ("e.json", "[]"),
        ("e2.json", "{}"),
        ("e.csv", "question,answer\n"),
        ("e2.csv", "question,answer"),
    ],
)
def test_a_file_without_rows_is_empty(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="is empty; wanted at least one row"):
        files.load(tmp_path / name, Wanted(), 4)


def test_a_parquet_file_without_rows_is_empty(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    column = pyarrow.array([], pyarrow.string())
    parquet.write_table(pyarrow.table({"question": column, "answer": column}), tmp_path / "e.parquet")
    with pytest.raises(DataError, match="is empty; wanted at least one row"):
        files.load(tmp_path / "e.parquet", Wanted(), 4)


@pytest.mark.parametrize("row", ["What is 1?;1", "Tom has 3, how many?;3"])
def test_a_csv_with_semicolons_is_said_to_be_one(row: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"question;answer\n{row}\n")
    with pytest.raises(DataError, match="separates its columns with `;`; wanted a comma"):
        files.load(path, Wanted(), 4)


def test_more_held_out_rows_than_a_fifth_are_said_not_to_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ROWS[:10])
    (report,) = files.load(path, Q_A, 200).report
    assert report.endswith("2 held out (asked for 200, a fifth of the rows is 2)")
    assert "asked" not in files.load(path, Q_A, 2).report[0]


def test_arithmetic_says_how_much_it_can_hold_out() -> None:
    assert len(arithmetic.load(1, arithmetic.MAX_HELD_OUT, seed=0).held_out) == arithmetic.MAX_HELD_OUT
    with pytest.raises(DataError, match="--n_eval is 2001; wanted at most 2000"):
        data.load(DataSettings(dataset="arithmetic", n_eval=2001), seed=0)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".jsonl", "a/" + "x" * 300, "~nobody_here/x.jsonl"])
def test_a_name_longer_than_the_file_system_takes_does_not_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"does not exist|unknown dataset"):
        data.load(DataSettings(dataset=name), seed=0)


@pytest.mark.parametrize("name", ["x" * 300, "/tmp/" + "x" * 300, "~nobody_here/x"])
def test_a_model_name_longer_than_the_file_system_takes_is_unknown(name: str) -> None:
    with pytest.raises(ModelError):
        locate(name)
