"""`toolkit runs`: what its verbs print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runs.made import make_run
from toolkit import cli

EVIL = "</script><img src=x onerror=alert(1)> \x1b[2J\x1b]0;mine\x07 \u202egnp.exe [bold] \x00"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs" / "one", texts=(EVIL, "The answer is 3."))


def out_of(args: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert cli.main(args) == code
    return capsys.readouterr().out


def json_of(args: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(out_of([*args, "--json"], capsys))


def test_ls_lists_every_run_and_what_is_wrong_with_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(folder.parent / "two", ends="stopped", n_steps=2)
    (folder / "environment.json").write_text("{")
    shown = out_of(["runs", "ls", str(folder.parent)], capsys)
    assert "25.0%" in shown
    assert "75.0%" in shown
    assert "environment.json is no JSON" in shown.replace("\n", "")
    listed = json_of(["runs", "ls", str(folder.parent)], capsys)
    assert {one["status"]: one["steps"] for one in listed} == {"finished": 4, "stopped": 2}


def test_show_says_what_came_of_a_run_and_what_to_do_next(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = out_of(["runs", "show", str(folder)], capsys)
    for said in ("finished, step 4 of 4", "75.0%", "asked adamw_8bit, in effect adamw_torch", "toolkit runs report"):
        assert said in shown
    found = json_of(["runs", "show", str(folder)], capsys)
    assert found["figures"]["reward"] == pytest.approx(0.625)
    assert found["settings"]["requested"]["learning_rate"] == 1e-3


def test_compare_says_what_differs_and_pairs_the_same_problems(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_run(folder.parent / "two", n_right=8, learning_rate=2e-3, grpo={"beta": 0.1})
    shown = out_of(["runs", "compare", str(folder), str(other)], capsys)
    assert "B against A: +25.0 points" in shown
    found = json_of(["runs", "compare", str(folder), str(other)], capsys)
    assert found["settings"] == {"learning_rate": [1e-3, 2e-3], "grpo.beta": ["not recorded", 0.1]}
    assert found["curves"]["reward"][0] == [[1, 0.25], [2, 0.5], [3, 0.75], [4, 1.0]]


@pytest.mark.parametrize(
    ("flags", "n"),
    [
        ([], 16),
        (["--step", "2"], 4),
        (["--step", "2:3"], 8),
        (["--step", "3:"], 8),
        (["--step", ":3", "--min_reward", "1"], 6),
        (["--reward", "correct", "--max_reward", "0"], 8),
        (["--step", "after"], 8),
        (["--step", "after", "--text", "AFTER: 3"], 1),
        (["--step", "before", "--min_reward", "1"], 2),
        (["--text", "onerror", "--n", "3"], 3),
    ],
)
def test_completions_are_filtered(flags: list[str], n: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(json_of(["runs", "completions", str(folder), *flags], capsys)) == n


def test_completions_cannot_drive_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = out_of(["runs", "completions", str(folder), "--text", "onerror"], capsys)
    assert not set("\x1b\x07\u202e\x00") & set(shown)
    assert "\\x1b[2J" in shown
    assert "\\u202egnp.exe [bold]" in shown.replace("\n", "")
    assert "8 found" in shown
    raw = out_of(["runs", "completions", str(folder), "--json"], capsys)
    assert raw.isascii()
    assert EVIL in [row["completion"] for row in json.loads(raw)]


def test_a_long_text_is_shown_by_its_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", n_steps=1, texts=("x" * 5000,))
    asked = ["runs", "completions", str(run), "--n", "1"]
    assert out_of(asked, capsys).count("x") < 2100
    assert out_of([*asked, "--full"], capsys).count("x") >= 5000


def test_a_broken_file_is_named_on_standard_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "completions" / "step_00002.parquet").write_bytes(b"PAR1")
    assert cli.main(["runs", "completions", str(folder), "--json"]) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 12
    assert shown.err.startswith("step_00002.parquet cannot be read")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["show"], "no RUN given"),
        (["show", "{folder}/none"], "does not exist; wanted a folder with settings.json"),
        (["show", "{folder}/completions"], "is not a run folder"),
        (["ls", "{folder}/none"], "does not exist; wanted a folder of runs"),
        (["compare", "{folder}"], "1 run folder given; wanted two or more"),
        (["compare", "{folder}", "{folder}", "--html", "page.pdf"], "wanted a name that ends in .html"),
        (["compare", "{folder}", "{folder}", "--html", "{folder}/none/page.html"], "cannot be written (No such file"),
        (["report", "{folder}", "--output", "{folder}/settings.json"], "wanted a name that ends in .html"),
        (["completions", "{folder}", "--step", "9"], "the run has no such completions; wanted steps 1 to 4, before"),
        (["completions", "{folder}", "--step", "aftr"], "did you mean after?"),
        (["completions", "{folder}", "--step", ":"], "wanted a step, two as 10:20"),
        (["completions", "{folder}", "--reward", "corect", "--min_reward", "1"], "did you mean correct?"),
        (["completions", "{folder}", "--reward", "correct"], "wanted --min_reward or --max_reward"),
        (["completions", "{folder}", "--n", "0"], "--n is 0"),
        (["complete", "{folder}"], "did you mean completions"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    args: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(["runs", *(arg.format(folder=folder) for arg in args)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert said in shown.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("verb", ["ls", "show", "compare", "report", "completions"])
def test_help_names_every_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"• {verb}" in out_of(["runs", "--help"], capsys)
    assert out_of(["runs", verb, "--help"], capsys).startswith(f"usage: toolkit runs {verb} [-h]")
