"""A recipe's whole path on a card, a step at a time: each timed, with its peaks, and the one that fails is named.

Runs in a cell's process, and writes what is known before and after each step, so that a process that is ended or dies
leaves that. Everything is done by what the recipes do it with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.numerics import adapter_is_back, pass_the_gate
from benchmarks.gpu.update import (
    Place,
    backend_for,
    fingerprint,
    load,
    measure_decode,
    practice_rows,
    read_steps,
    trained,
    watched,
)
from toolkit import export, runs
from toolkit.backends.unsloth import has_vllm_engine
from toolkit.compat import standby
from toolkit.display.console import console
from toolkit.display.live import View
from toolkit.display.state import RunState
from toolkit.errors import ParityError
from toolkit.files import write_json
from toolkit.settings import flatten
from toolkit.settings.resolved import Resolved
from toolkit.training import Reward, build_trainer, train
from toolkit.training.loop import load_adapter
from toolkit.units import gib

STEPS = ("load", "rollout", "sleep", "wake", "trainer", "parity", "step", "save", "reload")
"""In order; `sleep` and `wake` only where there is an engine with standby. `trainer` is its assembly."""


class Steps:
    """The steps that a cell has begun, in `found["steps"]`; the one in progress is `found["in_step"]`."""

    def __init__(self, cell: Cell, place: Place, found: dict[str, Any]) -> None:
        self._place, self._found = place, found
        self._vllm = cell.rollouts == "vllm"
        found["steps"] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[dict[str, Any]]:
        """Do what is inside as a step; it may add to the row that it gets."""
        row: dict[str, Any] = {"step": name}
        self._found["steps"].append(row)
        self._found["in_step"] = name
        self._keep()
        begin = time.perf_counter()
        try:
            with watched(self._place.gpu, row, vllm=self._vllm):
                yield row
            del self._found["in_step"]
        except Exception as error:
            if failure := standby.failure_in(error):  # loading rehearses both
                self._found["in_step"] = failure.step
            raise
        finally:
            row["seconds"] = round(time.perf_counter() - begin, 2)
            self._keep()

    def peak_gib(self) -> float | None:
        """What the process held at most after loading."""
        peaks = [row["process"] for row in self._found["steps"][1:] if row.get("process") is not None]
        return max(peaks, default=None)

    def _keep(self) -> None:
        write_json(self._place.result, self._found)


def measure_flagship(cell: Cell, place: Place, found: dict[str, Any]) -> None:
    """Load, roll out, sleep, wake, check parity, train, save and reload, and put into `found` what that took.

    Raises:
        ParityError: the gate is red, or the adapter did not come back; what follows it was measured all the same.
    """
    step, backend, checks = Steps(cell, place, found), backend_for(cell, place.gpu), found.setdefault("checks", [])
    settings = cell.settings(place.checkpoint(cell))
    with step("load") as row:
        policy = load(cell, backend, place.checkpoint(cell))
        found["load"] = row
        found |= {"loaded": policy.describe(), "notes": policy.notes, "n_linear_4bit": policy.n_linear_4bit}
    with step("rollout") as row:
        row |= measure_decode(cell, backend, policy)
    if cell.standby and has_vllm_engine(policy.model):
        sleep_and_wake(step, policy.model.vllm_engine)
    run = runs.create("gpu_check", place.work / "run", flatten(settings))
    try:
        with step("trainer"):
            rows = practice_rows(policy.tokenizer, cell.max_prompt_length)
            assembly = build_trainer(policy, rows, [Reward(fingerprint)], Resolved.of(settings), run, backend)
        found["attention"] = policy.attention(assembly.trainer)
        with step("parity"):
            checks += pass_the_gate(assembly.trainer)
        update = found.setdefault("update", {})
        with step("step"):
            view = View(RunState("gpu_check", cell.size, cell.engine, "", cell.n_steps), console)
            n_steps = train(assembly, run, view)
        update |= {"process": step.peak_gib()}
        read_steps(cell, run.rows, update, place.gpu)
        with step("save"):
            export.save(policy, backend, settings.record, run)
        with step("reload"):
            kept = {name: p.detach().to("cpu", copy=True) for name, p in trained(policy)}
            for _, parameter in trained(policy):
                parameter.data.zero_()
            load_adapter(assembly.trainer, run.adapter, n_steps, n_steps)
            checks += adapter_is_back(kept, trained(policy))
            measure_decode(cell, backend, policy)
    finally:
        run.close()
    if failure := first_failure(checks):
        found["in_step"], why = failure
        raise ParityError(why)


def first_failure(checks: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The step of the first check that a run would not survive, and why; at amber a run goes on."""
    for check in checks:
        if "why" in check:
            if check["why"].startswith("red"):
                return "parity", f"{check['check']}: {check['why']}"
        elif not check["passes"]:
            return "reload", f"{check['check']}: {check['found']}"
    return None


def sleep_and_wake(step: Steps, engine: Any) -> None:
    """As TRL lets it sleep after each rollout, and as Unsloth wakes it; loading has rehearsed it."""
    import torch

    free = torch.cuda.mem_get_info()[0]
    with step("sleep") as row:
        engine.sleep(level=standby.LEVEL)
        row["freed_gib"] = round(gib(torch.cuda.mem_get_info()[0] - free), 2)
    with step("wake"):
        engine.wake_up()
