"""`toolkit eval rate`: keys and files, in a pseudo terminal and through a pipe."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from toolkit.cli import main
from toolkit.display.keys import read_key
from toolkit.display.terminal import escaped
from toolkit.runs.completions import to_parquet

SETTINGS = {"requested": {"prompt_style": "boxed", "seed": 3}}


def write_run(folder: Path, texts: list[str], *, settings: dict[str, Any] | None = None, name: str = "after") -> Path:
    rows = [{"prompt": f"question {i}", "completion": text, "answer": str(i)} for i, text in enumerate(texts)]
    (folder / "completions").mkdir(parents=True, exist_ok=True)
    (folder / "completions" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "settings.json").write_text(json.dumps(SETTINGS if settings is None else settings))
    return folder


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a", [f"A writes {i}" for i in range(6)])
    write_run(tmp_path / "b", [f"B writes {i}" for i in range(6)])
    return "a", "b"


def rate(monkeypatch: pytest.MonkeyPatch, keys: str, *args: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{key}\n" for key in keys)))
    return main(["eval", "rate", *args])


def shown_left(printed: str) -> list[str]:
    """Whose text stood at the left (above, in a narrow terminal), pair by pair."""
    views = printed.split("─ left ")[1:]
    return ["a" if "A writes" in view.split("right ─")[0].split("─ right")[0] else "b" for view in views]


def test_stopped_and_gone_on_is_the_same_as_at_once(
    two: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rate(monkeypatch, "lrq", *two) == 0
    first = capsys.readouterr().out
    assert "2 of 6 pairs done" in first
    assert "win rate" not in first  # hidden until the end
    assert rate(monkeypatch, "tlsr", *two) == 0
    second = capsys.readouterr().out
    assert "win rate" in second
    assert rate(monkeypatch, "lrtlsr", *two, "--output", "whole") == 0
    whole = capsys.readouterr().out
    sides = shown_left(whole)
    assert [*shown_left(first)[:2], *shown_left(second)] == sides
    assert main(["eval", "rate", *two, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wins = [
        side if key == "l" else "ab".replace(side, "") for key, side in zip("lrtlsr", sides, strict=True) if key in "lr"
    ]
    assert (found["a_wins"], found["b_wins"], found["ties"], found["skipped"]) == (
        wins.count("a"),
        wins.count("b"),
        1,
        1,
    )
    ours, theirs = (Path(folder) / "preferences.jsonl" for folder in ("ratings/a-after-vs-b-after", "whole"))
    assert ours.read_text() == theirs.read_text()
    rows = [json.loads(line) for line in ours.read_text().splitlines()]
    assert len(rows) == found["n_preferences"] == len(wins)
    assert rows[0]["prompt"][0] == {
        "role": "system",
        "content": "Please reason step by step, and put your final answer within \\boxed{}.",
    }
    assert rows[0]["prompt"][1]["content"].startswith("question ")


def test_undo_takes_back_the_last_choice_and_other_keys_do_nothing(
    two: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rate(monkeypatch, "ulxlusq", *two) == 0
    state = json.loads(Path("ratings/a-after-vs-b-after/rating.json").read_text())
    assert state["choices"] == ["left", "skip"]


def test_control_characters_of_a_model_are_shown_and_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a", ["\x1b[2J\x07clear\rover [bold]x[/bold]"])
    write_run(tmp_path / "b", ["plain"])
    assert rate(monkeypatch, "l", "a", "b") == 0
    printed = capsys.readouterr().out
    assert r"\x1b[2J\x07clear\rover [bold]x[/bold]" in printed
    assert "\x1b[2J" not in printed


def test_what_is_escaped_is_what_a_terminal_obeys() -> None:
    assert escaped("é 中 \t\n\u200d") == "é 中 \t\n\u200d"
    assert escaped("\x9b1m\x7f\u202e\ud800") == r"\x9b1m\x7f\u202e\ud800"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "no A and B given; wanted two of a run folder"),
        (["a"], "no B given"),
        (["a", "nowhere"], "nowhere does not exist"),
        (["a", "empty"], "neither a run nor an evaluation"),
        (
            ["a", "unfinished"],
            "not measured after training; wanted a finished run; or give unfinished/completions/step_00001.jsonl",
        ),
        (["a", "a"], "the same text for all 6 prompts"),
        (["a", "other"], "no prompt in common"),
        (["a", "a/settings.json"], "has no prompt"),
        (["a", "broken"], "is broken at line 2"),
        (["a", "b", "--n_pairs", "0"], "--n_pairs is 0"),
        (["a", "b", "--json"], "has no choice yet"),
        (["a", "b", "--output", "a"], "--output a holds something else"),
        (["a", "b", "--output", "a/settings.json"], "holds something else"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_leaves_nothing(
    two: tuple[str, str], args: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "unfinished", ["x"], name="step_00001")
    (write_run(tmp_path / "other", ["x"]) / "completions" / "after.jsonl").write_text(
        '{"prompt": "p", "completion": "c"}'
    )
    broken = write_run(tmp_path / "broken", ["x"]) / "completions" / "after.jsonl"
    broken.write_text(broken.read_text() + '{"prompt": "p", "compl')
    before = sorted(tmp_path.rglob("*"))
    assert main(["eval", "rate", *args]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_rating_is_bound_to_its_completions_and_its_seed(
    two: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rate(monkeypatch, "lq", *two, "--output", "kept", "--seed", "5") == 0
    state = Path("kept/rating.json").read_text()
    for args, says in (((*two, "--seed", "6"), "begun with 5"), (("b", "a"), "other completions of A")):
        assert main(["eval", "rate", *args, "--output", "kept"]) == 2
        assert says in capsys.readouterr().err
    write_run(Path("b"), ["B again"] * 6)
    assert main(["eval", "rate", *two, "--output", "kept"]) == 2
    assert "other completions of B" in capsys.readouterr().err
    assert Path("kept/rating.json").read_text() == state


def test_parquet_of_a_run_and_of_an_evaluation_are_read(
    two: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, name in (("a", "after"), ("b", "greedy")):
        old = Path(folder, "completions", "after.jsonl")
        rows = [json.loads(line) for line in old.read_text().splitlines()]
        old.with_name(f"{name}.parquet").write_bytes(to_parquet(rows))
        old.unlink()
    assert rate(monkeypatch, "lq", *two) == 0
    assert "1 of 6 pairs done" in capsys.readouterr().out
    assert Path("ratings/a-after-vs-b-greedy/preferences.jsonl").exists()


def test_two_ways_of_asking_leave_the_question_alone(
    two: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(Path("b"), ["B"] * 6, settings={"requested": {"prompt_style": "r1"}})
    assert rate(monkeypatch, "lq", *two) == 0
    assert "asked in different ways" in capsys.readouterr().out
    (row,) = map(json.loads, Path("ratings/a-after-vs-b-after/preferences.jsonl").read_text().splitlines())
    assert [turn["role"] for turn in row["prompt"]] == ["user"]


@pytest.fixture
def keyboard() -> Iterator[tuple[int, Any]]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r", buffering=1) as stream:
        yield ours, stream
    os.close(ours)


def test_keys_come_one_by_one_from_a_terminal(keyboard: tuple[int, Any]) -> None:
    fd, stream = keyboard
    os.write(fd, b"L\x1b[D\x1b[C\x1bOCq\x04")
    assert [read_key(stream) for _ in range(6)] == ["l", "left", "right", "right", "q", "end"]


def test_in_a_terminal_ctrl_c_stops_and_keeps_what_was_chosen(two: tuple[str, str], tmp_path: Path) -> None:
    """A pair, a key without Enter, Ctrl-C: the choice is kept, the terminal is as it was, and no traceback is shown."""
    ours, theirs = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-m", "toolkit", "eval", "rate", *two]
    started = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    state = tmp_path / "ratings" / "a-after-vs-b-after" / "rating.json"
    printed = _read_until(ours, b"pair 1 of 6")
    _wait_for(lambda: _is_raw(theirs))
    os.write(ours, b"\x1b[C")
    printed += _read_until(ours, b"pair 2 of 6")
    assert json.loads(state.read_text())["choices"] == ["right"]
    _wait_for(lambda: _is_raw(theirs))
    os.killpg(started.pid, signal.SIGINT)
    printed += _read_until(ours, b"the same command goes on")
    assert started.wait(20) == 130
    assert not _is_raw(theirs)
    assert b"Traceback" not in printed
    assert json.loads(state.read_text())["choices"] == ["right"]
    os.close(ours)
    os.close(theirs)


def _is_raw(fd: int) -> bool:
    import termios

    return not termios.tcgetattr(fd)[3] & termios.ICANON


def _wait_for(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def _read_until(fd: int, wanted: bytes) -> bytes:
    printed, end = b"", time.monotonic() + 20
    while wanted not in printed:
        assert time.monotonic() < end, printed
        if select.select([fd], [], [], 1.0)[0]:
            printed += os.read(fd, 4096)
    return printed
