"""The flagship's path in the card check: each step is named, timed and kept, whichever of them ends the cell."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.gpu import plans, report, results
from benchmarks.gpu.cells import on_a_cpu
from benchmarks.gpu.flagship import Steps, first_failure, sleep_and_wake
from benchmarks.gpu.supervise import CellProcess, Workplace
from benchmarks.gpu.update import Place
from toolkit.errors import ModelError, StandbyError
from toolkit.machine.child import Child


def test_a_cell_that_fails_in_a_step_keeps_what_was_done_and_names_it(tmp_path: Path) -> None:
    flagship = on_a_cpu()[0]
    with (tmp_path / "log").open("wb") as log:
        place = Workplace(None, tmp_path / "models", tmp_path / "work", log)
        found = CellProcess(flagship, place).run(limit_s=120, context_gib=0.5)  # no checkpoint was written
    assert (found["status"], found["in_step"]) == ("failed", "load")
    assert "cannot be loaded" in found["why"]
    row = results.finished_row(flagship, plans.plan_of(flagship, None), "", found)
    assert "in its step load" in report.line(1, 1, row)
    screen = Console(file=StringIO(), width=80)
    screen.print(report.render({"cells": [row], "summary": results.summarise([row]), "wall_s": 1, "calibration": None}))
    assert re.search(r"tiny load +[0-9.]+ +- +failed", screen.file.getvalue())  # pyright: ignore[reportAttributeAccessIssue]


def test_an_engine_that_does_not_wake_while_it_loads_is_named_by_that(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    step = Steps(on_a_cpu()[0], Place(None, tmp_path, tmp_path, 0.5, tmp_path / "result.json"), found)
    with step("load"):
        pass
    failure = StandbyError("vLLM could not wake up (an illegal address)")
    failure.step = "wake"
    with pytest.raises(ModelError), step("rollout"):
        raise ModelError("cannot be loaded") from failure
    assert json.loads((tmp_path / "result.json").read_text()) == found
    assert ([row["step"] for row in found["steps"]], found["in_step"]) == (["load", "rollout"], "wake")


class Sleeper:
    """As `vllm.LLM`; of its two methods the one in `fails` raises."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def sleep(self, level: int) -> None:
        if self.fails == "sleep":
            raise AssertionError("Memory usage increased after sleeping.")

    def wake_up(self) -> None:
        if self.fails == "wake_up":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    ("fails", "steps"), [("", ["sleep", "wake"]), ("sleep", ["sleep"]), ("wake_up", ["sleep", "wake"])]
)
def test_sleeping_and_waking_are_steps(
    fails: str, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    free = iter([(1 << 30, 0), (3 << 30, 0)])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: next(free))
    found: dict[str, Any] = {}
    step = Steps(on_a_cpu()[0], Place(None, tmp_path, tmp_path, 0.5, tmp_path / "result.json"), found)
    with pytest.raises((AssertionError, RuntimeError)) if fails else nullcontext():
        sleep_and_wake(step, Sleeper(fails))
    assert [row["step"] for row in found["steps"]] == steps
    assert found.get("in_step") == (steps[-1] if fails else None)
    if fails != "sleep":
        assert found["steps"][0]["freed_gib"] == 2.0


def test_a_red_gate_fails_its_step_and_an_amber_one_does_not() -> None:
    failed = {"check": "parity gate on vLLM", "unit": "nats", "found": 9.0, "bound": None, "passes": False}
    assert first_failure([failed | {"why": "amber: noise"}]) is None
    assert first_failure([failed | {"why": "red: adapter unused"}]) == (
        "parity",
        "parity gate on vLLM: red: adapter unused",
    )
    assert first_failure([{"check": "adapter", "found": 3, "passes": False}]) == ("reload", "adapter: 3")


def test_what_a_process_wrote_before_it_was_ended_is_kept(tmp_path: Path) -> None:
    code = """if True:
        import json, sys, time
        request = json.loads(sys.stdin.readline())
        open(request["result"], "w").write('{"in_step": "load"}')
        time.sleep(600)
    """
    found = Child([sys.executable, "-c", code], tmp_path / "cell", os.environ).run({}, limit_s=5)
    assert found == {"in_step": "load", "status": "timed_out", "why": "stopped after 5 s", "wall_s": found["wall_s"]}
