"""Health beside real training: flat rounds are said at once, NaN stops before the weights, watching costs little."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.integration.parity_trainer import Built, build
from tests.integration.test_parity_gate import Heard
from toolkit.errors import DivergedError
from toolkit.runs import metrics
from toolkit.runs.names import BROKEN_BATCH, BROKEN_TENSORS
from toolkit.runs.reader import is_complete
from toolkit.training import events, train

QUICK = ("--target_modules", "q_proj", "--per_device_train_batch_size", "16", "--save_steps", "8", "--max_steps")


def go(built: Built) -> Heard:
    view = Heard()
    try:
        train(built.assembly, built.run, view)
    finally:
        built.run.close()
    return view


def test_every_group_flat_for_two_rounds_is_said_at_once(tmp_path: Path) -> None:
    """Four tokens are too few for any answer: what a small model on a stock recipe did in silence."""
    built = build(tmp_path / "run", *QUICK, "3", "--max_completion_length", "4", "--per_device_train_batch_size", "64")
    view = go(built)
    [said] = [line for line in view.lines if "R26" in line]
    assert said.startswith("health red, step 2, R26 every group flat: ")
    assert "2 rounds in a row (100% all wrong)" in said
    assert "always 0: correct, format" in said
    assert "truncated at 4 tokens, before the answer: raise max_completion_length" in said
    rows = built.run.rows
    assert [row[metrics.HEALTH_LEVEL] for row in rows] == [0.0, 2.0, 2.0]
    assert "R26" in rows[1][metrics.HEALTH_RED]
    assert [row[metrics.ALL_WRONG] for row in rows] == [1.0, 1.0, 1.0]
    health = json.loads((built.run.folder / "summary.json").read_text())["health"]
    assert (health["level"], health["verdicts"][0]["rule"], health["verdicts"][0]["last_step"]) == ("red", "R26", 3)


def poisoned(trainer: Any, at_step: int) -> Callable[..., Any]:
    """`compute_loss` that becomes NaN in the step after `at_step` are done."""
    honest = trainer.compute_loss

    def compute_loss(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = honest(model, inputs, *args, **kwargs)
        return loss * float("nan") if trainer.state.global_step == at_step else loss

    return compute_loss


def test_a_nan_stops_the_run_before_it_reaches_the_weights_and_keeps_the_batch(tmp_path: Path) -> None:
    built = build(tmp_path / "run", *QUICK, "4", "--gradient_accumulation_steps", "2")
    built.trainer.compute_loss = poisoned(built.trainer, at_step=2)
    with pytest.raises(DivergedError) as raised:
        go(built)
    line = str(raised.value)
    assert line.startswith("before the update of step 3: the gradient is nan; the loss of 2 of 2 micro-batches is not")
    assert "go on from checkpoint-2" in line
    assert [row["step"] for row in built.run.rows] == [1, 2]
    assert is_complete(built.run.checkpoints / "checkpoint-2")
    weights = load_file(built.run.checkpoints / "checkpoint-2" / "adapter_model.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in weights.values())
    kept = json.loads((built.run.folder / BROKEN_BATCH).read_text())
    assert (kept["step"], kept["grad_norm"], len(kept["micro_batches"])) == (3, "nan", 2)
    tensors = load_file(built.run.folder / BROKEN_TENSORS)
    assert tensors["1.completion_ids"].shape[0] == 16
    assert "health" in json.loads((built.run.folder / "summary.json").read_text())


def test_probabilities_that_are_no_numbers_are_told_in_words(tmp_path: Path) -> None:
    built = build(tmp_path / "run", *QUICK, "2")
    with torch.no_grad():
        next(p for p in built.trainer.model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(DivergedError, match="after step 0 the model's probabilities are not finite"):
        go(built)


def test_observers_take_at_most_2_percent_of_a_steps_cpu_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ratio of CPU times within one process and run: what the others on this machine do does not matter."""
    spent = {"observers": 0.0}

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return method(*args, **kwargs)
            finally:
                spent["observers"] += time.process_time() - start

        return call

    class Counted(events.Events):
        def __init__(self, assembly: Any, observers: Any) -> None:
            for observer in observers:
                for name in ("before_step", "round_done", "metrics", "judge", "step_done", "wants_stop"):
                    setattr(observer, name, counted(getattr(observer, name)))
            super().__init__(assembly, observers)

    monkeypatch.setattr("toolkit.training.loop.Events", Counted)
    built = build(tmp_path / "run", "--max_steps", "12", "--save_steps", "12")
    start = time.process_time()
    go(built)
    share = spent["observers"] / (time.process_time() - start)
    print(f"observers: {share:.2%} of {12} steps' CPU time")
    assert 0 < share < 0.02
