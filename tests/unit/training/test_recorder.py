"""What is recorded of a step."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from toolkit import runs
from toolkit.runs import metrics
from toolkit.runs.completions import read_rows
from toolkit.training.events import Round
from toolkit.training.recorder import Recorder


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def round_of(step: int, *scores: float, n_tokens: int = 5) -> Round:
    rows = [
        {"prompt": "How many?", "completion": f"{step}", "answer": "1", "n_tokens": n_tokens}
        for _ in range(len(scores))
    ]
    return Round(step, ["correct"], 2, rows, [[score] for score in scores], rollout_s=2.0, reward_s=0.5)


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Recorder, Clock, runs.Run]:
    clock, run = Clock(), runs.create("recipe", tmp_path / "run", {})
    return Recorder(run, clock), clock, run


def test_a_step_of_several_rounds_keeps_them_all(recorded: tuple[Recorder, Clock, runs.Run]) -> None:
    recorder, clock, run = recorded
    recorder.before_step(0)
    recorder.round_done(round_of(1, 1.0, 0.0))
    recorder.round_done(round_of(1, 1.0, 1.0, math.nan, 0.0))
    clock.now_s = 10.0
    row = recorder.metrics(1)
    kept, _ = read_rows(run.completions / "step_00001.parquet")
    assert [r["group"] for r in kept] == [0, 0, 1, 1, 2, 2]
    assert [r["rewards"]["correct"] for r in kept] == [1.0, 0.0, 1.0, 1.0, None, 0.0]
    times = {metrics.STEP_S: 10.0, metrics.ROLLOUT_S: 4.0, metrics.REWARD_S: 1.0, metrics.UPDATE_S: 5.0}
    assert {key: row[key] for key in times} == times
    assert row[metrics.TOKENS_PER_S] == 6 * 5 / 4
    assert row[metrics.NO_SIGNAL] == (0 + 0.5) / 2


def test_a_step_that_reuses_completions_has_none_of_its_own(recorded: tuple[Recorder, Clock, runs.Run]) -> None:
    recorder, _, run = recorded
    recorder.before_step(0)
    recorder.round_done(round_of(1, 1.0, 0.0))
    recorder.before_step(1)
    row = recorder.metrics(2)
    assert not {metrics.TOKENS_PER_S, metrics.NO_SIGNAL} & row.keys()
    recorder.step_done(2, {"reward": 0.5, **row})
    assert run.rows[0]["reward"] == 0.5
    assert [path.name for path in run.completions.iterdir()] == ["step_00001.parquet"]
