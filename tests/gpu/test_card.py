"""What only a card can show: `pytest tests/gpu -m gpu -n 0`, about 4 minutes, offline. It has not run on a card yet.

Random weights in the shape of Qwen2.5-0.5B, through this project's backends and its assembly.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.gpu import plans
from benchmarks.gpu.cells import CHECKPOINTING, ENGINES, Cell, Engine, flagship
from benchmarks.gpu.flagship import STEPS
from benchmarks.gpu.results import error_percent
from benchmarks.gpu.supervise import ROOT, child_environment
from tests.gpu.conftest import Run
from toolkit.machine.devices import Gpu

pytestmark = pytest.mark.gpu

N_LINEAR = 7 * 24  # projections of Qwen2.5-0.5B
SMALL_CARD = "4"  # GiB
MAX_ALLOCATED_PERCENT = 5.0  # the planner's aim for tensors, as in tests/unit/vram/test_published.py


def update(engine: Engine) -> Cell:
    how = CHECKPOINTING[engine]
    return Cell(f"update {engine}", "update", "0.5B", engine, gradient_checkpointing=how, n_decoded=8)


def numerics(engine: Engine) -> Cell:
    return Cell(f"numerics {engine}", "numerics", "0.5B", engine, gradient_checkpointing=CHECKPOINTING[engine])


def test_the_flagships_path_is_gone_to_its_end(run: Run) -> None:
    """Unsloth, 4 bit, vLLM in this process with standby: load, roll out, sleep, wake, parity, train, save, reload."""
    found = run(flagship("0.5B"))
    assert found["status"] == "ran", f"in its step {found.get('in_step')}: {found['why']}"
    assert [step["step"] for step in found["steps"]] == list(STEPS)
    assert next(step for step in found["steps"] if step["step"] == "sleep")["freed_gib"] > 0
    assert found["n_linear_4bit"] == N_LINEAR


@pytest.mark.parametrize("engine", ENGINES)
def test_a_4bit_base_is_nf4_by_layer_type(engine: Engine, run: Run) -> None:
    assert run(update(engine))["n_linear_4bit"] == N_LINEAR


def test_a_16bit_base_is_in_the_cards_type(gpu: Gpu, run: Run) -> None:
    found = run(Cell("load 16-bit", "load", "0.5B", "transformers", load_in_4bit=False))
    assert found["loaded"].endswith("in bfloat16" if gpu.has_bf16 else "in float16")
    assert found["n_linear_4bit"] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_grpo_steps_move_every_adapter(engine: Engine, run: Run) -> None:
    found = run(update(engine))
    assert found["status"] == "ran", found["why"]
    assert found["update"]["loss_is_finite"]
    assert found["n_adapters_moved"] == found["n_adapters"] == 2 * N_LINEAR


@pytest.mark.parametrize("engine", ENGINES)
def test_the_peak_is_within_what_the_planner_promises(engine: Engine, gpu: Gpu, run: Run) -> None:
    plan = plans.plan_of(update(engine), gpu)
    planned, measured = plans.record(update(engine), plan)["update"], run(update(engine))["update"]
    error = error_percent(planned["allocated"], measured["allocated"])
    assert error is not None
    assert abs(error) < MAX_ALLOCATED_PERCENT
    low, high = plan.interval_gib
    assert low <= measured["process"] <= high


@pytest.mark.parametrize("engine", ENGINES)
def test_the_numbers_are_right(engine: Engine, run: Run) -> None:
    """16 bit against float32, NF4 against its definition, the fused head against a plain one, and the parity gate."""
    found = run(numerics(engine))
    assert found["status"] == "ran", found["why"]
    assert len(found["checks"]) == (9 if engine == "transformers" else 7)
    assert [check for check in found["checks"] if not check["passes"]] == []


def test_both_engines_compute_the_same_function(run: Run) -> None:
    one, other = (run(update(engine))["logps"] for engine in ENGINES)
    assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one) < 0.03


@pytest.mark.parametrize("expected", ["runs", "out_of_memory"])
def test_a_small_card_does_what_the_planner_says(expected: str, gpu: Gpu, run: Run) -> None:
    asked = Cell(f"small card {expected}", "update", "0.5B", "transformers", n_steps=2, emulates=SMALL_CARD)
    cell, why = plans.fitted(replace(asked, expected=expected), gpu, longest_s=1e6)
    assert cell is not None, why
    assert run(cell)["status"] == ("ran" if expected == "runs" else expected)


def test_doctor_sees_the_card(gpu: Gpu) -> None:
    command = [sys.executable, "-m", "toolkit", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=child_environment())
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert gpu.name in checks["GPU"]["found"]
    assert checks["GPU"]["status"] in ("ok", "warn")
