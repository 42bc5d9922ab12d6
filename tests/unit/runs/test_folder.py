"""The run folder: atomic, exclusive, rewindable."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit import runs
from toolkit.errors import RunFolderError
from toolkit.runs import reader
from toolkit.runs.names import step_name


def make_checkpoint(run: runs.Run, step: int) -> Path:
    path = run.checkpoints / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.safetensors"):
        (path / name).touch()
    (path / "trainer_state.json").write_text("{}")
    return path


@pytest.fixture
def run(tmp_path: Path) -> runs.Run:
    return runs.create("recipe", tmp_path / "run", {"seed": 3})


def test_a_folder_in_use_is_refused_with_the_way_on(run: runs.Run, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="--resume"):
        runs.create("recipe", run.folder, {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(RunFolderError, match="new or empty folder"):
        runs.create("recipe", tmp_path / "other", {})


def test_a_full_disk_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10 * 2**20))
    with pytest.raises(RunFolderError, match=r"0\.01 GiB free; wanted at least 0\.25 GiB"):
        runs.create("recipe", tmp_path / "run", {})
    assert not (tmp_path / "run").exists()


def test_the_last_complete_checkpoint_is_found(run: runs.Run) -> None:
    assert run.last_checkpoint() is None
    for step in (2, 10, 4):
        make_checkpoint(run, step)
    (run.checkpoints / "checkpoint-10" / "trainer_state.json").write_text('{"a')
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-4"


def test_rewinding_drops_exactly_what_comes_after(run: runs.Run) -> None:
    for step in (1, 2, 3):
        run.append_metrics({"step": step})
        run.write_completions(step_name(step), [{"completion": "x"}])
        make_checkpoint(run, step)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "rew')  # what a kill leaves
    run.close()
    run = runs.reopen(run.folder)
    run.rewind_to(2)
    assert [row["step"] for row in run.rows] == [1, 2]
    assert (run.folder / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
    assert sorted(p.name for p in run.completions.iterdir()) == ["step_00001.parquet", "step_00002.parquet"]
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["checkpoint-1", "checkpoint-2"]


def test_what_json_cannot_say_becomes_null(run: runs.Run) -> None:
    run.append_metrics({"step": 1, "grad_norm": math.nan, "kl": math.inf, "nested": {"x": [math.nan, 1.0]}})
    assert json.loads((run.folder / "metrics.jsonl").read_text()) == {
        "step": 1,
        "grad_norm": None,
        "kl": None,
        "nested": {"x": [None, 1.0]},
    }


def test_a_write_that_fails_leaves_the_old_file_whole(run: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write("progress.json", {"step": 1})

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        run.write("progress.json", {"step": 2})
    assert json.loads((run.folder / "progress.json").read_text()) == {"step": 1}


def test_a_run_that_continues_knows_what_its_earlier_parts_left(run: runs.Run) -> None:
    run.update("settings.json", given=["seed"], effective={"beta": 0.0})
    run.append_metrics({"step": 1, "reward": 0.1 + 0.2})
    run.write("progress.json", {"step": 1, "wall_s": 7.5})
    run.close()
    again = runs.reopen(run.folder)
    assert again.recipe == "recipe"
    assert again.document("settings.json")["effective"] == {"beta": 0.0}
    assert again.rows == run.rows
    assert again.wall_s() > 7.5
    assert reader.given_names(run.folder) == {"seed"}


@pytest.mark.parametrize("content", ["", "[]", '{"requested": 3}', "{"])
def test_settings_that_cannot_be_read_are_one_line(run: runs.Run, content: str) -> None:
    run.close()
    (run.folder / "settings.json").write_text(content)
    with pytest.raises(RunFolderError) as caught:
        runs.reopen(run.folder)
    assert "settings.json" in str(caught.value)
    assert "\n" not in str(caught.value)
