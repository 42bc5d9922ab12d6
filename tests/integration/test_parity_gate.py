"""The parity gate in a run: it changes nothing, records what it saw, and stops at red with what was trained before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from tests.integration.parity_trainer import Built, build
from tests.integration.second_engine import install
from toolkit.display.console import console
from toolkit.display.live import View
from toolkit.display.state import RunState
from toolkit.errors import EXIT_BAD_INPUT, ParityError, ToolkitError
from toolkit.models import embedded
from toolkit.runs.metrics import is_volatile
from toolkit.runs.reader import is_complete
from toolkit.training import train

QUICK = ("--target_modules", "q_proj", "--per_device_train_batch_size", "16", "--save_steps", "4", "--max_steps")


class Heard(View):
    """A view that keeps what is said."""

    def __init__(self) -> None:
        super().__init__(RunState("parity", "embedded", "transformers", "", 4), console)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def go(built: Built) -> Heard:
    view = Heard()
    train(built.assembly, built.run, view)
    built.run.close()
    return view


def checks(built: Built) -> list[dict[str, Any]]:
    return json.loads((built.run.folder / "parity.json").read_text())["checks"]


def test_a_run_with_the_gate_trains_the_same_bit_for_bit(tmp_path: Path) -> None:
    runs = {}
    for parity in ("on", "off"):
        built = build(tmp_path / parity, *QUICK, "4", "--parity", parity, "--parity_steps", "2")
        view = go(built)
        steady = [
            {k: v for k, v in row.items() if not is_volatile(k) and not k.startswith("parity/")}
            for row in built.run.rows
        ]
        weights = load_file(built.run.checkpoints / "checkpoint-4" / "adapter_model.safetensors")
        runs[parity] = built, view, steady, weights
    (on, view, rows, weights), (off, _, other_rows, other_weights) = runs["on"], runs["off"]
    assert rows == other_rows
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert [row["step"] for row in checks(on)] == [1, 3]
    assert not (off.run.folder / "parity.json").exists()
    metrics = on.run.rows
    assert ["parity/level" in row for row in metrics] == [True, False, True, False]
    assert metrics[2]["parity/applied"] == pytest.approx(1, abs=1e-3)
    assert metrics[2]["time/parity_s"] > 0
    (said,) = [line for line in view.lines if line.startswith("parity")]
    assert said.startswith(
        "parity: generate draws from the weights in training: 1.00 to 1.00 of each move arrives (q_proj)"
    )


def test_auto_leaves_out_the_trainers_own_generate_and_takes_in_everything_else(tmp_path: Path) -> None:
    built = build(tmp_path / "own", *QUICK, "1")
    go(built)
    assert not (built.run.folder / "parity.json").exists()
    built = build(tmp_path / "second", *QUICK, "1")
    install(built.trainer, str(embedded.folder()))
    go(built)
    assert [row["finding"]["level"] for row in checks(built)] == ["green"]


def test_a_check_waits_for_a_round_of_rollouts_to_begin(tmp_path: Path) -> None:
    rounds = ("--gradient_accumulation_steps", "1", "--steps_per_generation", "2")
    built = build(tmp_path / "run", *QUICK, "4", *rounds, "--parity", "on", "--parity_steps", "1")
    go(built)
    assert [row["step"] for row in checks(built)] == [1, 3]


def test_red_in_the_middle_of_a_run_keeps_the_steps_before_it(tmp_path: Path) -> None:
    """The sampler stops taking weights after two steps: found at the next check, with the part that is stale."""
    built = build(tmp_path / "run", *QUICK, "4", "--parity_steps", "2")
    trainer = built.trainer
    install(trainer, str(embedded.folder()), lambda _, weight: weight if trainer.state.global_step < 2 else None)
    with pytest.raises(ParityError) as raised:
        go(built)
    built.run.close()
    line = str(raised.value)
    assert line.startswith("before step 3: vLLM (colocate) does not use what is trained (")
    assert "q_proj" in line
    assert "not synced; start again with --use_vllm false" in line
    assert "\n" not in line
    assert isinstance(raised.value, ToolkitError)
    assert EXIT_BAD_INPUT == 2
    assert [row["step"] for row in built.run.rows] == [1, 2]
    assert [(row["step"], row["finding"]["level"]) for row in checks(built)] == [(1, "green"), (3, "red")]
    assert is_complete(built.run.checkpoints / "checkpoint-2")


def test_red_before_the_first_step_trains_nothing(tmp_path: Path) -> None:
    built = build(tmp_path / "run", *QUICK, "4")
    install(built.trainer, str(embedded.folder()), lambda name, weight: None)
    with pytest.raises(ParityError, match="before step 1: "):
        go(built)
    assert built.run.rows == []
    assert checks(built)[0]["finding"]["name"] == "adapter unused"


def test_a_resumed_run_is_checked_before_its_first_step(tmp_path: Path) -> None:
    options = (*QUICK, "2", "--parity", "on", "--parity_steps", "1", "--save_steps", "1")
    go(build(tmp_path / "run", *options))
    (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "trainer_state.json").unlink()  # killed while it was written
    again = build(tmp_path / "run", *options, "--parity_steps", "0", resume=True)
    go(again)
    assert [row["step"] for row in checks(again)] == [1, 2]
    assert [len(row["probes"]) for row in checks(again)] == [3, 3], "the first check of a process asks every part"


def test_a_base_that_moves_between_checks_is_found_though_the_sampler_follows_it(tmp_path: Path) -> None:
    """What syncs round adds up over a run, and no comparison of sampler and trainer shows it."""
    built = build(tmp_path / "run", *QUICK, "3", "--parity_steps", "2")
    install(built.trainer, str(embedded.folder()))

    class Spoil(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            with torch.no_grad():
                for name, weight in kwargs["model"].named_parameters():
                    if "up_proj" in name:
                        weight.mul_(1.5)

    built.trainer.add_callback(Spoil())
    with pytest.raises(ParityError, match="syncs changed the trained model"):
        go(built)
    assert checks(built)[-1]["probes"][0]["noise_mean"] < 1e-4
    assert checks(built)[-1]["drift"] > 3e-3
