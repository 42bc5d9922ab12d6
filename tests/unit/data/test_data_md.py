"""recipes/DATA.md keeps its word: every row of its two tables is written to a file and read as training reads it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from tests.paths import ROOT
from toolkit.data import prompts
from toolkit.data.schema import Problems, Row, messages
from toolkit.data.shapes import Wanted
from toolkit.data.table import read_file
from toolkit.errors import DataError
from toolkit.settings import DataSettings

PAGE = (ROOT / "recipes" / "DATA.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the rows below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def asked_rows(path: Path, wanted: Wanted) -> list[Row]:
    """The rows of a file as a model is asked them."""
    rows = read_file(path, wanted).rows
    return prompts.ask(Problems(rows, rows, path.name), DataSettings()).train


SHAPES, FILES = table("Shapes of a row"), table("Files")


def test_the_tables_are_read() -> None:
    assert len(SHAPES) >= 24
    assert len(FILES) >= 12


@pytest.mark.parametrize("shape", SHAPES, ids=[shape[0] for shape in SHAPES])
def test_a_shape_is_asked_and_judged_as_the_page_says(shape: list[str], tmp_path: Path) -> None:
    _, given, asked, gold, passed = shape
    (tmp_path / "a.jsonl").write_text(code(given)[0] + "\n", encoding="utf-8")
    needs = {"answer"} if gold != "none" else set(code(passed))
    (row,) = asked_rows(tmp_path / "a.jsonl", Wanted(needs=frozenset(needs)))
    question = code(asked)[0].replace("\\n", "\n")
    assert row["question"] == row["prompt"][-1]["content"] == question
    assert row.get("answer") == (None if gold == "none" else code(gold)[0])
    assert all(row[name] is not None for name in code(passed))
    is_ours = row["prompt"][0] == messages("")[0]
    assert is_ours is not asked.startswith("as it stands")


@pytest.mark.parametrize("file", FILES, ids=[f"{file[0]} {file[1]} {i}" for i, file in enumerate(FILES)])
def test_a_file_is_read_or_refused_as_the_page_says(file: list[str], tmp_path: Path) -> None:
    name, encoding, content, outcome = file
    path = tmp_path / code(name)[0]
    raw = code(content)[0].replace("\\n", "\n").encode(encoding)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    if outcome == "read":
        (row,) = asked_rows(path, Wanted())
        assert (row["question"], row["answer"]) == ("What is 2+3?", "5")
        return
    with pytest.raises(DataError) as caught:
        asked_rows(path, Wanted())
    assert f"{path} {outcome}" in str(caught.value)
    assert "; wanted " in str(caught.value)
