"""Completions on disk: whatever a row holds can be written and read, and an older run's JSONL is read, too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from toolkit import runs
from toolkit.runs.completions import files_of, read_rows, step_files, to_parquet, weighted_sum

HOSTILE = ["</script><img src=x onerror=alert(1)>", "a\x00b\x1b[2J", "\u202egnp.exe", "x" * 100_000, "", "\U0001f600"]


def written(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    path = folder / "rows.parquet"
    path.write_bytes(to_parquet(rows))
    read, warning = read_rows(path)
    assert warning == ""
    return read


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "completion": text, "rewards": {"correct": 0.1 + 0.2, "mine.py:f": None}, "correct": True}
        for text in HOSTILE
    ]
    assert written(tmp_path, rows) == rows


def test_what_utf8_and_json_cannot_say_is_replaced(tmp_path: Path) -> None:
    row = {"completion": "a\ud800b", "reward": math.nan, "rewards": {"r": math.inf, "\udc00": 1.0}, "score": 1}
    assert written(tmp_path, [row]) == [
        {"completion": "a\ufffdb", "reward": None, "rewards": {"r": None, "\ufffd": 1.0}, "score": 1.0}
    ]


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        (["18", None], ["18", None]),
        ([18, 7.5], [18.0, 7.5]),
        ([["a", "b"], ["c"]], [["a", "b"], ["c"]]),
        ([18, "eighteen"], ["18", "eighteen"]),
        ([{"tests": []}, {}], ['{"tests": []}', "{}"]),
        ([{}, {}], ["{}", "{}"]),
        ([2**70, 1], [str(2**70), "1"]),
        ([["\ud800"], ["a"]], ['["\ufffd"]', '["a"]']),
        ([None, None], [None, None]),
    ],
)
def test_an_answer_of_any_kind_is_kept(answers: list[Any], kept: list[Any], tmp_path: Path) -> None:
    assert [row["answer"] for row in written(tmp_path, [{"answer": answer} for answer in answers])] == kept


def test_each_step_has_the_same_columns_whatever_is_missing(tmp_path: Path) -> None:
    """So that pandas or datasets read all steps as one table."""
    schemas = []
    for rewards in ({"a": 1.0}, {"a": None}):
        row = {"step": 1, "completion": "x", "answer": None, "rewards": rewards, "reward": rewards["a"]}
        (tmp_path / "rows.parquet").write_bytes(to_parquet([row]))
        schemas.append(parquet.read_schema(tmp_path / "rows.parquet"))
    assert schemas[0].equals(schemas[1])


def test_rewards_of_no_function_and_no_rows_are_files_too(tmp_path: Path) -> None:
    assert written(tmp_path, [{"completion": "x", "rewards": {}}]) == [{"completion": "x"}]
    assert written(tmp_path, []) == []


def test_an_older_folder_is_read_and_a_newer_file_of_a_name_counts(tmp_path: Path) -> None:
    run = runs.create("recipe", tmp_path / "run", {})
    run.write_completions("step_00010", [{"completion": "new"}])
    run.write_completions("after", [{"completion": "new"}])
    (run.completions / "before.jsonl").write_text('{"completion": "old"}\n')
    for step in (2, 10):
        (run.completions / f"step_{step:05d}.jsonl").write_text('{"completion": "old"}\n')
    (run.completions / "step_00002.stats.png").touch()
    (run.completions / ".step_00011.parquet.77").touch()  # what a kill has left
    assert {name: read_rows(path)[0][0]["completion"] for name, path in files_of(run.folder).items()} == {
        "before": "old",
        "step_00002": "old",
        "step_00010": "new",
        "after": "new",
    }
    assert list(step_files(run.folder)) == [2, 10]


def test_a_broken_file_is_read_up_to_the_break_with_a_sentence(tmp_path: Path) -> None:
    old, new = tmp_path / "step_00001.jsonl", tmp_path / "step_00002.parquet"
    old.write_text('{"completion": "a"}\n{"completion": "b"}\n[1]\n{"completion": "c"}\n')
    rows, warning = read_rows(old)
    assert [row["completion"] for row in rows] == ["a", "b"]
    assert warning == "step_00001.jsonl is broken at line 3: read up to there, 2 lines left out"
    whole = to_parquet([{"completion": "a"}])
    for content in (whole[:-20], whole[20:], b"", whole[:60] + bytes(40) + whole[100:]):
        new.write_bytes(content)
        rows, warning = read_rows(new)
        assert rows == []
        assert warning.startswith("step_00002.parquet cannot be read (")
        assert "\n" not in warning


def test_the_total_leaves_out_what_could_not_be_judged() -> None:
    assert weighted_sum([1.0, None, 0.5], [1.0, 5.0, 0.2]) == 1.1
    assert weighted_sum([None], [1.0]) is None
