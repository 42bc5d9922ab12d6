"""A tracker gets TRL's metrics and ours, step by step, in the folder of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.parity_trainer import build
from toolkit.display.console import console
from toolkit.display.live import View
from toolkit.display.state import RunState
from toolkit.training import trackers, train

QUICK = ("--per_device_train_batch_size", "16", "--max_steps", "2")
Trained = Callable[..., Any]


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    def go(*argv: str) -> Any:
        built = build(tmp_path / "run", *QUICK, *argv)
        train(built.assembly, built.run, View(RunState("r", "m", "b", "f", 2), console))
        built.run.close()
        return built

    return go


def test_tensorboard_has_every_number_of_metrics_jsonl(trained: Trained) -> None:
    pytest.importorskip("tensorboard", reason="the extra [test] brings it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # pyright: ignore[reportMissingImports]  # an extra's

    built = trained()  # `auto`
    assert built.assembly.effective["report_to"] == ["tensorboard"]
    events = EventAccumulator(str(built.run.folder / "tensorboard"))
    events.Reload()
    for row in built.run.rows:
        for key, value in row.items():
            if key != "step" and isinstance(value, (int, float)):
                drawn = {event.step: event.value for event in events.Scalars(f"train/{key}")}
                assert drawn[row["step"]] == pytest.approx(value, rel=1e-5), key
    assert {"train/reward", "train/time/rollout_s"} <= {*events.Tags()["scalars"]}
    assert not (built.run.checkpoints / "runs").exists()


def test_none_is_none(trained: Trained) -> None:
    built = trained("--report_to", "none")
    assert built.trainer.args.report_to == []
    assert not (built.run.folder / "tensorboard").exists()


def test_completions_go_where_there_are_tables_and_not_to_the_console() -> None:
    assert trackers.fields(["tensorboard"], Path("runs/one")) == {"report_to": ["tensorboard"], "run_name": "one"}
    of_tables = trackers.fields(["tensorboard", "trackio"], Path("runs/one"))
    assert of_tables["log_completions"] is True
    assert of_tables["num_completions_to_print"] == 0
