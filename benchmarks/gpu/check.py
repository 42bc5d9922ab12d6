"""The course of a check: which cells can run here, each in its turn within the budget, and the JSON after each."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from benchmarks.gpu import plans, report, results
from benchmarks.gpu.cells import Cell, on_a_card, on_a_cpu
from benchmarks.gpu.checkpoints import Checkpoints, Wanted, size_gib
from benchmarks.gpu.supervise import CellProcess, Workplace
from toolkit import doctor
from toolkit.display.console import say
from toolkit.errors import ContractError, SettingsError
from toolkit.files import write_json
from toolkit.machine.devices import Gpu
from toolkit.machine.provenance import describe_environment
from toolkit.models.random import checkpoint_dtype
from toolkit.units import gib
from toolkit.vram.constants import for_capability, shipped
from toolkit.vram.plan import Plan

OPTIONAL = {
    "unsloth": "its cells are left out, and transformers with PEFT stands alone",
    "bitsandbytes": "nothing is loaded in 4 bit, and the optimizer is adamw_torch",
    "vllm": "no cell rolls out with it",
}
"""Packages that a check can do without, and what is lost."""
FIRST_GUESS_S = {True: 40.0, False: 12.0}
"""What a cell may take before one of its engine has ended; on a card, on a CPU."""
ROOMY_GIB, MANY_CORES = 40, 8
LONGEST_SHARE = 0.5  # of the limit of a cell, that its steps may take by the plan; the rest is imports and loading
ROOM_GIB = 2.0  # left free on the disk
STOPPED = "the check was stopped before it ended"


@dataclass(frozen=True)
class Limits:
    """How long, and which."""

    budget_s: float
    """For everything."""
    limit_s: float
    """For one cell."""
    only: tuple[str, ...] = ()
    """Parts of names; empty: all cells."""


@dataclass
class Check:
    """One check in progress. `document` is what is written; see `results`.

    Raises:
        SettingsError: no cell has a name as `limits.only` wants it.
    """

    gpu: Gpu | None
    limits: Limits
    output: Path
    models: Path
    """Folder of the random checkpoints."""
    work: Path
    """Empty folder for what the cells leave."""
    log: IO[bytes]
    missing: dict[str, str] = field(init=False)
    """Package -> why it cannot be used; one that turns out not to import is added."""
    document: dict[str, Any] = field(init=False)
    _plans: dict[str, Plan] = field(init=False, default_factory=dict)
    _too_large: dict[Wanted, str] = field(init=False, default_factory=dict)
    _next: CellProcess | None = field(init=False, default=None)
    """Importing ahead."""
    _begin: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.missing = {name: f"{name} is not installed" for name in OPTIONAL if not importlib.util.find_spec(name)}
        self._cells = chosen(on_a_card(self.gpu) if self.gpu else on_a_cpu(), self.limits.only)
        self.document = new_document(self.gpu, self.missing, self.limits)
        self._place = Workplace(self.gpu, self.models, self.work / "cells", self.log)

    def run(self) -> None:
        """Run the cells in the order of their value. However this ends, what was measured is in `output`."""
        prepared = [(cell, *self._prepare(cell)) for cell in self._cells]
        runnable = [cell for _, cell, _ in prepared if cell is not None]
        wanted = list(dict.fromkeys(checkpoint for cell in runnable for checkpoint in cell.checkpoints))
        self._too_large = self._without_room(wanted)
        self.document["cells"] = [
            results.row_of(fit or cell, "not_run" if fit else "skipped", STOPPED if fit else why)
            for cell, fit, why in prepared
        ]
        self._write()
        ready = [one for one in wanted if one not in self._too_large]
        with Checkpoints(self.models, ready, checkpoint_dtype(self.gpu), self.log) as checkpoints:
            try:
                for i, (_, cell, note) in enumerate(prepared):
                    if cell is not None:
                        later = (fit for _, fit, _ in prepared[i + 1 :] if fit is not None and not self._stops(fit))
                        following = next(later, None)
                        self.document["cells"][i] = self._run_one(cell, note, checkpoints, following)
                    self._write()
                    say(report.line(i + 1, len(prepared), self.document["cells"][i]))
            finally:
                if self._next is not None:
                    self._next.end()

    def _prepare(self, cell: Cell) -> tuple[Cell | None, str]:
        """The cell as it can run here, None where it cannot, and why."""
        if "bitsandbytes" in self.missing:
            if cell.kind == "numerics":
                cell = replace(cell, load_in_4bit=False)
            cell = replace(cell, optim="adamw_torch")
        if why := self._lacks(cell):
            return None, why
        return plans.fitted(cell, self.gpu, LONGEST_SHARE * self.limits.limit_s)

    def _lacks(self, cell: Cell) -> str:
        needs = {
            "unsloth": cell.engine == "unsloth",
            "bitsandbytes": cell.load_in_4bit,
            "vllm": cell.rollouts == "vllm",
        }
        return next((why for name, why in self.missing.items() if needs[name]), "")

    def _stops(self, cell: Cell) -> str:
        """Why a cell cannot run, by what is known so far; empty when it can."""
        return self._lacks(cell) or next((self._too_large[c] for c in cell.checkpoints if c in self._too_large), "")

    def _has_run(self, name: str) -> str:
        ran = any(row["name"] == name and row["status"] == "ran" for row in self.document["cells"])
        return f"{name} ran" if ran else ""

    def _without_room(self, wanted: Sequence[Wanted]) -> dict[Wanted, str]:
        """Checkpoints that the disk does not hold beside those before them, and why."""
        self.models.mkdir(parents=True, exist_ok=True)
        left, without = gib(shutil.disk_usage(self.models).free) - ROOM_GIB, {}
        for one in wanted:
            need = size_gib(one, checkpoint_dtype(self.gpu))
            if need > left:
                without[one] = f"its checkpoint takes {need:.1f} GiB, and the disk has {max(0.0, left):.1f} left for it"
            else:
                left -= need
        return without

    def _run_one(self, cell: Cell, note: str, checkpoints: Checkpoints, following: Cell | None) -> dict[str, Any]:
        """A cell's row, whatever comes of it. `following` may import meanwhile."""
        if why := self._stops(cell) or self._has_run(cell.stands_in_for):
            return results.row_of(cell, "skipped", why)
        left, need = self._left_s(), self._expected_s(cell)
        if left < need:
            return results.row_of(cell, "not_run", f"{left:.0f} s of the budget were left, and it may take {need:.0f}")
        for one in cell.checkpoints:
            if why := checkpoints.wait(one, self._left_s()):
                return results.row_of(cell, "failed", why)
        process = self._process_for(cell)
        if following is not None and self._imports_ahead():
            self._next = CellProcess(following, self._place)
        limit_s = max(cell.limit_s or 0.0, self.limits.limit_s)
        found = process.run(min(limit_s, self._left_s()), self._context_gib(cell))
        if cell.engine == "unsloth" and "unsloth does not import" in found["why"]:
            self.missing["unsloth"] = found["why"]
            self.document["degradations"].append(f"{found['why']}: {OPTIONAL['unsloth']}")
        self.document["torch"] = self.document["torch"] or found.get("torch", {})
        plan = self._plans[cell.name] = plans.plan_of(cell, self.gpu)
        return results.finished_row(cell, plan, note, found)

    def _process_for(self, cell: Cell) -> CellProcess:
        """The process that was started ahead for this cell, or a new one."""
        waiting, self._next = self._next, None
        if waiting is not None and waiting.cell == cell:
            return waiting
        if waiting is not None:
            waiting.end()
        return CellProcess(cell, self._place)

    def _imports_ahead(self) -> bool:
        """Whether the next cell may import while this one measures, without being seen in its figures.

        It takes idle cores; a card on which another context is nothing; and a driver that tells the processes apart,
        as a cell before has shown.
        """
        if self.gpu is None or self.gpu.total_gib < ROOMY_GIB or (os.cpu_count() or 1) < MANY_CORES:
            return False
        measured = [row["measured"].get("update", {}) for row in self.document["cells"] if "measured" in row]
        return any("list" in (update.get("process_from") or "") for update in measured)  # devices.process_memory

    def _left_s(self) -> float:
        return self.limits.budget_s - (time.monotonic() - self._begin)

    def _expected_s(self, cell: Cell) -> float:
        """What the cells of this engine took that start vLLM, or do not, as this one, by the median."""
        rows = [row for row in self.document["cells"] if "measured" in row]
        alike = (cell.engine, cell.rollouts == "vllm")
        settings = ((row["settings"]["engine"], row["settings"]["rollouts"] == "vllm") for row in rows)
        taken = [row["measured"]["wall_s"] for row, own in zip(rows, settings, strict=True) if own == alike]
        return statistics.median(taken) if taken else FIRST_GUESS_S[self.gpu is not None]

    def _context_gib(self, cell: Cell) -> float:
        """The context as the cells before showed it, else as it is planned."""
        seen = [row["implied"]["context_gib"] for row in self.document["cells"] if "implied" in row]
        seen = [value for value in seen if value is not None]
        card = plans.card_for(cell, self.gpu)
        known = for_capability(shipped(), card.compute_capability if card else None)
        return statistics.median(seen) if seen else known["context"]["gib"]

    def _write(self) -> None:
        self.document["wall_s"] = round(time.monotonic() - self._begin, 1)
        rows = self.document["cells"]
        self.document["summary"] = results.summarise(rows)
        if self.gpu is not None:
            versions, date = self.document["versions"], self.document["date"]
            self.document["calibration"] = results.calibration(rows, self._plans, versions, self.gpu, date)
        write_json(self.output, results.as_written(self.document))


def chosen(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells whose name has one of these parts; all where none is given.

    Raises:
        SettingsError: there is none.
    """
    found = [cell for cell in cells if not only or any(part in cell.name for part in only)]
    if not found:
        raise SettingsError(f"--only {' '.join(only)} names no cell", f"parts of: {', '.join(c.name for c in cells)}")
    return found


def new_document(gpu: Gpu | None, missing: dict[str, str], limits: Limits) -> dict[str, Any]:
    """The document before any cell has run; benchmarks/README.md says what each part means."""
    environment = describe_environment([gpu] if gpu else [], {}, [])
    return {
        "format": results.FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": _device(gpu),
        "host": {name: environment[name] for name in ("machine", "n_cpus")},
        "versions": {"python": platform.python_version(), **environment["versions"]},
        "torch": {},
        "git_commit": environment["git_commit"],
        "limits": {"budget_s": limits.budget_s, "limit_s": limits.limit_s, "only": list(limits.only)},
        "degradations": [f"{why}: {OPTIONAL[name]}" for name, why in missing.items()],
        "warnings": _warnings(),
        "wall_s": 0.0,
        "cells": [],
        "summary": results.summarise([]),
        "calibration": None,
    }


def _device(gpu: Gpu | None) -> dict[str, Any]:
    if gpu is None:
        return {"kind": "cpu", "name": platform.processor() or platform.machine()}
    return {
        "kind": "cuda",
        "name": gpu.name,
        "compute_capability": ".".join(map(str, gpu.compute_capability)),
        "total_gib": round(gpu.total_gib, 3),
        "free_gib": round(gpu.free_gib, 3),
        "driver": gpu.driver_version,
    }


def _warnings() -> list[str]:
    """What `toolkit doctor` finds amiss: other versions than the tested ones, above all. The check goes on."""
    try:
        findings = doctor.examine(doctor.collect()).findings
    except ContractError as error:
        return [str(error)]
    amiss = [f for f in findings if f.level in ("amber", "red")]
    return [f"{f.name}: {f.found}" + (f"; tested {f.wanted}" if f.wanted else "") for f in amiss]
