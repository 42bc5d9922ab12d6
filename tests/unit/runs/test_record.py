"""A run folder as it is read, however the run ended and whatever is broken in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runs.made import make_run
from toolkit import runs
from toolkit.errors import RunFolderError
from toolkit.runs.next_steps import next_steps
from toolkit.runs.record import find_runs, read_record


def test_a_finished_run_is_summed_up(tmp_path: Path) -> None:
    record = read_record(make_run(tmp_path / "run"))
    summary = record.summary()
    assert (summary["status"], summary["steps"], summary["max_steps"], summary["wall_s"]) == ("finished", 4, 4, 40.0)
    assert (summary["before"]["pass_at_1"], summary["after"]["pass_at_1"]) == (0.25, 0.75)
    assert summary["reward"] == pytest.approx((0.25 + 0.5 + 0.75 + 1.0) / 4)
    assert (record.age, record.warnings) == ("", [])
    figures = record.figures()
    assert (figures["memory/peak_gib"], figures["time/step_s"], figures["kl"]) == (0.54, 2.0, None)


@pytest.mark.parametrize("ends", ["stopped", "failed", ""])
def test_a_run_that_did_not_finish_has_a_summary_too(ends: str, tmp_path: Path) -> None:
    summary = read_record(make_run(tmp_path / "run", ends=ends, n_steps=3)).summary()
    assert (summary["status"], summary["steps"], summary["after"]) == (ends or "stopped", 3, None)
    assert summary["before"]["pass_at_1"] == 0.25
    assert summary["wall_s"] == (40.0 if ends else 30.0)


def test_a_run_that_is_being_written_is_running_and_a_killed_one_is_killed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", ends="")
    run = runs.reopen(folder)
    code = "import sys; from pathlib import Path; from toolkit.runs.record import read_record;"
    code += "print(read_record(Path(sys.argv[1])).status)"

    def told() -> str:
        return subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True).stdout

    assert told() == "running\n"
    run.close()
    (folder / "run.lock").touch()  # what a kill leaves, since nobody holds it
    assert told() == "killed\n"


@pytest.mark.parametrize(
    ("tail", "n_read", "said"),
    [
        (b'{"step": 5, "rew', 4, "metrics.jsonl is broken at line 5: read up to there, 1 line left out"),
        (b'\x00\xff\n{"step": 6}\n{"step": 7}\n', 4, "at line 5: read up to there, 3 lines left out"),
        (b'{"reward": 1}\n', 4, "at line 5"),
        (b"[" * 100_000 + b"\n", 4, "at line 5"),
        (b"\n\n", 4, ""),
        (b'{"step": 5, "reward": NaN}\n', 5, ""),
    ],
    ids=["torn", "bytes", "no step", "nested", "blank", "NaN"],
)
def test_broken_metrics_are_read_up_to_the_break(tail: bytes, n_read: int, said: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(tail)
    record = read_record(folder)
    assert len(record.rows) == n_read
    assert len(record.warnings) == bool(said)
    assert said in "".join(record.warnings)
    json.dumps(record.as_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["settings.json", "summary.json", "environment.json", "measurements.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": "\\ud800"}'])
def test_any_record_may_be_broken(name: str, content: bytes, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_bytes(content)
    record = read_record(folder)
    json.dumps(record.as_json(), allow_nan=False)
    assert record.n_steps == 4
    assert len(record.warnings) == (content[:2] != b'{"')
    assert all(name in warning and "\n" not in warning for warning in record.warnings)


def test_a_folder_of_an_older_version_is_named_as_such_and_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    settings = json.loads((folder / "settings.json").read_text())
    for said, age in ((None, "an older version"), (99, "a newer version")):
        (folder / "settings.json").write_text(json.dumps(settings | {"format": said}))
        assert age in read_record(folder).age
    for path in (folder / "completions").iterdir():
        path.unlink()
    old: dict[str, Any] = {"step": 1, "group": 0, "completion": "x", "rewards": {"correct": 1.0, "format": 1.0}}
    (folder / "completions" / "step_00001.jsonl").write_text(json.dumps(old) + "\n")
    rows, fault = read_record(folder).completions("step_00001")
    assert (rows[0]["reward"], fault) == (1.5, "")  # by the weights of the settings


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, said in (("none", "does not exist"), ("file", "is not a folder"), ("", "is not a run folder")):
        with pytest.raises(RunFolderError, match=said):
            read_record(tmp_path / name)
    with pytest.raises(RunFolderError, match="is a file"):
        find_runs(tmp_path / "file")


def test_runs_are_found_below_a_folder_the_oldest_first(tmp_path: Path) -> None:
    import os

    for i, name in enumerate(("b", "a")):
        os.utime(make_run(tmp_path / name, ends="") / "settings.json", (i, i))
    (tmp_path / "notes").mkdir()
    assert [path.name for path in find_runs(tmp_path)] == ["b", "a"]
    assert find_runs(tmp_path / "a") == [tmp_path / "a"]


def test_what_to_do_next_names_what_there_is(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a run", ends="stopped")
    assert dict(next_steps(read_record(folder), ())) == {
        "draw": f"toolkit runs report '{folder}'",
        "look": f"toolkit runs completions '{folder}'",
    }
    (folder / "report.html").touch()
    (folder / "adapter").mkdir()
    (folder / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    found = dict(next_steps(read_record(folder), ("chat", "plan")))
    assert list(found) == ["open", "look", "continue", "chat"]
    assert found["continue"] == f"python recipes/gsm8k_r1.py --resume '{folder}'"
