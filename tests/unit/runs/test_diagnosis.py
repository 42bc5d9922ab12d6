"""A run that is over is judged by the same rules, from whatever it left, whole or broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.paths import GOLDEN
from tests.unit.control.series import MADE_FOR, NO_REWARD, Row, sound
from toolkit.cli import main
from toolkit.errors import RunFolderError
from toolkit.runs.diagnosis import diagnose
from toolkit.runs.logs import read_log

NOT_KEPT = ("time/", "memory/")  # what TRL alone does not log
FLAT = [{k: v for k, v in row.items() if not k.startswith(NOT_KEPT)} for row in sound(15, **NO_REWARD)]
SUMMARY_ROW = {"train_runtime": 1.0, "train_loss": 0.0, "step": 15}


def state_of(rows: list[Row]) -> dict[str, Any]:
    """As transformers writes a trainer_state.json."""
    return {"best_metric": None, "global_step": len(rows), "log_history": [*rows, SUMMARY_ROW], "max_steps": 200}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps(state_of(FLAT), indent=2))
    return path


def tripped(path: Path) -> dict[str, str]:
    return {verdict.rule.id: verdict.level for verdict in diagnose(path).health.tripped()}


def test_a_trainer_state_a_checkpoint_and_the_folder_above_say_the_same(state: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "out" / "checkpoint-20"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text(state.read_text())
    older = tmp_path / "out" / "checkpoint-9"
    older.mkdir()
    (older / "trainer_state.json").write_text(json.dumps(state_of(sound(9))))
    found = [tripped(path) for path in (state, checkpoint, tmp_path / "out")]
    assert found[0]["R26"] == "red"
    assert found[0] == found[1] == found[2]
    assert read_log(state).context.n_steps == 200
    assert len(read_log(state).rows) == len(FLAT)  # without the row that is about no step


def test_nan_in_a_trainer_state_is_found(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps(state_of(MADE_FOR["R06"])))
    assert "NaN" in path.read_text()
    assert tripped(path) == {"R06": "red"}


def test_a_trainer_state_that_breaks_off_is_read_up_to_the_break(state: Path) -> None:
    whole = state.read_text()
    counts = []
    for at in range(whole.index("}") + 1, len(whole) - 2, 997):
        state.write_text(whole[:at])
        log = read_log(state)
        assert log.rows == FLAT[: len(log.rows)]
        assert "broken at character" in log.warnings[0]
        counts.append(len(log.rows))
    state.write_text(whole[: whole.index("}")])
    with pytest.raises(RunFolderError, match="holds no logged step"):
        read_log(state)
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] >= len(FLAT) - 1


def test_bytes_that_are_no_text_end_the_history_there(state: Path) -> None:
    whole = state.read_bytes()
    state.write_bytes(whole[:6000] + b"\xff\x00\xfe" + whole[6000:])
    log = read_log(state)
    assert 0 < len(log.rows) < len(FLAT)
    assert log.warnings


def test_metrics_that_break_off_are_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps(row) for row in FLAT]
    path.write_text("\n".join(lines[:8]) + "\n" + lines[8][:40])
    log = read_log(path)
    assert (len(log.rows), len(log.warnings)) == (8, 1)
    assert tripped(path)["R26"] == "red"


def test_a_run_folder_adds_what_it_knows(tmp_path: Path) -> None:
    asked = {"max_steps": 500, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "num_generations": 8}
    (tmp_path / "settings.json").write_text(json.dumps({"recipe": "r", "requested": asked}))
    (tmp_path / "environment.json").write_text(json.dumps({"gpus": [{"total_gib": 24.0}], "world_size": 1}))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in MADE_FOR["R14"]))
    log = read_log(tmp_path)
    assert (log.context.memory_gib, log.context.n_steps, log.context.n_groups) == (24.0, 500, 4)
    assert log.context == read_log(tmp_path / "metrics.jsonl").context
    assert tripped(tmp_path) == {"R14": "red"}


def test_a_measurement_before_and_after_is_judged_too(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"recipe": "r", "requested": {}}))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sound()))
    summary = {
        "before": {"mean_tokens": 100.0},
        "after": {"mean_tokens": 250.0},
        "difference": {"value": 0.0, "interval": [-0.02, 0.02]},
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert tripped(tmp_path) == {"R40": "amber", "R41": "red"}


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("none.json", None, "does not exist"),
        ("empty.json", "", "no log_history"),
        ("list.json", "[]", "holds no logged step"),
        ("other.json", '{"a": 1}', "has no log_history"),
        ("number.json", "3", "has no log_history"),
        ("words.json", '{"log_history": ["a", 1, null]}', "holds no logged step"),
        ("metrics.jsonl", "{", "holds no logged step (metrics.jsonl is broken at line 1"),
        ("deep.json", "[" * 100_000, "no log_history"),
    ],
)
def test_what_cannot_be_judged_is_one_line_and_code_2(
    name: str, content: str | None, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    assert main(["runs", "diagnose", str(path)]) == 2
    said = capsys.readouterr().err
    assert found in said
    assert "wanted a run folder, metrics.jsonl, or trainer_state.json" in said
    assert said.count("\n") == 1


def test_an_empty_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no logged step"):
        read_log(tmp_path)


def test_the_command_prints_the_same_verdicts_as_json(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "diagnose", "--json", str(state)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["level"] == "red"
    assert {verdict["level"] for verdict in report["verdicts"]} == {"red", "amber", "green"}
    assert main(["runs", "diagnose", str(state)]) == 0
    shown = capsys.readouterr().out
    for verdict in report["verdicts"]:
        assert (verdict["rule"] in shown) == (verdict["level"] != "green")
    assert f"{state}: red; 15 rows" in shown.replace("\n", "")


def test_a_healthy_run_has_no_red(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "diagnose", "--json", str(GOLDEN / "healthy_run.jsonl")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "red" not in {report["level"], *(verdict["level"] for verdict in report["verdicts"])}
