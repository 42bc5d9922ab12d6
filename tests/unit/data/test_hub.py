"""Splits and configurations by the real `datasets` from folders, and each cause of its errors with its own remedy."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub.errors import HfHubHTTPError

from toolkit import data
from toolkit.data.hub import explained
from toolkit.data.schema import Problems
from toolkit.errors import DataError, HubError, ToolkitError
from toolkit.settings import DataSettings


def system_error(number: int, *file: str) -> OSError:
    return OSError(number, os.strerror(number), *file)


def refusal(status: int) -> HfHubHTTPError:
    response = httpx.Response(status, request=httpx.Request("GET", "http://hub.example"))
    return HfHubHTTPError(f"Client error {status}", response=response)


CASES: dict[str, tuple[Exception, type[ToolkitError], str]] = {
    "disk full in mid-write": (system_error(errno.ENOSPC, "/cache/x"), DataError, "disk of the cache is full"),
    "disk too small": (OSError("Not enough disk space. Needed: 9 MiB"), DataError, "disk of the cache is full"),
    "read-only cache": (system_error(errno.EROFS, "/cache/x"), DataError, "cannot be used (/cache/x: Read-only"),
    "somebody else's cache": (system_error(errno.EACCES, "/cache/x"), DataError, "/cache/x: Permission denied"),
    "refused": (refusal(401), HubError, "the Hub refuses openai/gsm8k (HTTP 401)"),
    "not shown": (DatasetNotFoundError("Dataset 'openai/gsm8k' doesn't exist"), HubError, "has no openai/gsm8k"),
    "refused connection": (ConnectionRefusedError(*system_error(errno.ECONNREFUSED).args), HubError, "does not answer"),
    "gated": (DatasetNotFoundError("Dataset 'openai/gsm8k' is a gated dataset on the Hub."), HubError, "k is gated; "),
    "a script": (RuntimeError("Dataset scripts are no longer supported, but found x.py"), DataError, "by a script"),
    "another configuration is in the cache": (
        ValueError("Couldn't find cache for gsm8k for config 'socratic'\nAvailable configs in the cache: ['main']"),
        DataError, "has no configuration 'main'; did you mean main?",
    ),
    "not in the cache": (ValueError("Couldn't find cache for openai/gsm8k"), HubError, "does not answer"),
    "offline": (ConnectionError("Couldn't reach 'openai/gsm8k' (OfflineModeIsEnabled)"), HubError, "does not answer"),
    "broken in mid-download": (httpx.ReadTimeout("The read operation timed out"), HubError, "does not answer"),
    "errors of the Hub": (FileNotFoundError("Couldn't find 'openai/gsm8k' on the Hub"), HubError, "does not answer"),
    "a torn file": (ValueError("Magic bytes not found\nin footer"), DataError, "loaded (Magic bytes not found)"),
    "nothing said": (RuntimeError(), DataError, "(RuntimeError)"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "said"), CASES.values(), ids=CASES)
def test_the_cause_is_told_apart(error: Exception, kind: type[ToolkitError], said: str) -> None:
    wrapped = DatasetGenerationError("An error occurred while generating the dataset")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        line = explained(raised, "openai/gsm8k", "main")
        assert type(line) is kind
        assert said in str(line)


def folder(path: Path, **splits: int) -> Path:
    """A folder of one file for each split, of so many rows."""
    path.mkdir(exist_ok=True, parents=True)
    for name, n in splits.items():
        rows = [{"problem": f"{name}: what is {i} plus 1?", "solution": f"It is \\boxed{{{i + 1}}}."} for i in range(n)]
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(path: Path, **flags: Any) -> Problems:
    return data.load(DataSettings(dataset=str(path), n_eval=4, **flags), seed=0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_one_split_is_trained_on_and_rows_of_the_other_are_measured(tmp_path: Path) -> None:
    problems = load(folder(tmp_path / "data", train=12, test=8))
    assert (len(problems.train), len(problems.held_out)) == (12, 4)
    assert all(row["question"].startswith("train:") for row in problems.train)
    assert all(row["question"].startswith("test:") for row in problems.held_out)
    assert problems.train[0]["answer"] == "1"
    assert problems.report[0] == "12 training rows, 4 held out of its test split"
    assert problems.report.count("question: column 'problem'") == 1
    assert problems.held_out == load(tmp_path / "data").held_out


def test_other_splits_are_named(tmp_path: Path) -> None:
    folder(tmp_path / "data", train=12, validation=8)
    problems = load(tmp_path / "data", dataset_test_split="validation")
    assert all(row["question"].startswith("validation:") for row in problems.held_out)
    problems = load(tmp_path / "data", dataset_train_split="validation", dataset_test_split="train")
    assert len(problems.train) == 8


def test_without_a_test_split_rows_are_held_out(tmp_path: Path) -> None:
    problems = load(folder(tmp_path / "data", train=10, validation=8))
    assert (len(problems.train), len(problems.held_out)) == (8, 2)
    held_out = "no split 'test' beside 'train': held out of it; --dataset_test_split validation takes that one"
    assert held_out in problems.report


def test_a_training_row_that_is_measured_is_dropped(tmp_path: Path) -> None:
    folder(tmp_path / "data", train=12, test=4)
    row = (tmp_path / "data" / "test.jsonl").read_text().splitlines()[0]
    with (tmp_path / "data" / "train.jsonl").open("a") as file:
        file.write(row + "\n")
    problems = load(tmp_path / "data")
    assert len(problems.train) == 12
    assert "1 row dropped: the question is held out" in problems.report


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"dataset_train_split": "trian"}, "has no split 'trian'; did you mean train?; name"),
        (
            {"dataset_test_split": "dev"},
            "has no split 'dev'; wanted one of train, test; name it with --dataset_test_spl",
        ),
        ({"answer_column": "answers"}, "has no column 'answers'"),
    ],
)
def test_what_does_not_exist_is_said_with_what_does(flags: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(folder(tmp_path / "data", train=12, test=8), **flags)
    assert said in str(caught.value)


def test_configurations_are_those_of_the_dataset(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("easy", "hard"):
        folder(root / name, train=5 if name == "easy" else 10)
    listed = "".join(f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in ("easy", "hard"))
    (root / "README.md").write_text(f"---\nconfigs:\n{listed}---\n")
    with pytest.raises(
        DataError, match="data has 2 configurations; wanted one of easy, hard; for example: --dataset_con"
    ):
        load(root)
    with pytest.raises(DataError, match="data has no configuration 'hrad'; did you mean hard"):
        load(root, dataset_config="hrad")
    problems = load(root, dataset_config="hard")
    assert len(problems.train) + len(problems.held_out) == 10


def test_a_saved_dataset_is_read(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    table = Dataset.from_list([{"question": f"What is {i}?", "answer": i} for i in range(10)])
    table.save_to_disk(tmp_path / "one")
    DatasetDict({"train": table, "test": table.select(range(2))}).save_to_disk(tmp_path / "several")
    assert len(load(tmp_path / "one").train) == 8
    assert len(load(tmp_path / "several").train) == 8  # two are measured


def test_a_bad_row_is_named_by_its_split(tmp_path: Path) -> None:
    folder(tmp_path / "data", train=3, test=2)
    (tmp_path / "data" / "train.jsonl").write_text(
        '{"problem": "a", "solution": "1"}\n{"problem": "b", "solution": ""}\n'
    )
    with pytest.raises(DataError, match="data train row 2: no gold answer"):
        load(tmp_path / "data")
    assert len(load(tmp_path / "data", drop_bad_rows=True).train) == 1


@pytest.mark.parametrize(("name", "content"), [("config.json", '{"a": 1}'), ("train.jsonl", '{"question": "a", "ans')])
def test_a_folder_that_is_no_table_says_to_name_a_file(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text(content)
    with pytest.raises(DataError, match=r"data (cannot be loaded|has no column).*--"):
        load(tmp_path / "data")


def test_flags_of_the_hub_are_refused_beside_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--dataset_config is main, and .*train.jsonl is a file"):
        load(folder(tmp_path / "data", train=3) / "train.jsonl", dataset_config="main")


@pytest.mark.parametrize("name", ["aritmetic", "openai/gsm8", "a b/c", "me/data/more", "x" * 120, "/nowhere/x"])
def test_a_name_that_is_no_id_is_unknown(name: str) -> None:
    with pytest.raises(DataError, match="unknown dataset"):
        data.load(DataSettings(dataset=name), seed=0)
