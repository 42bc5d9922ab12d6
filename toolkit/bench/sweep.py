"""Run the cells of a sweep, one after the other; whatever ends it, what is finished stays and is not run again.

`results/<spec>/cells.jsonl` has one record a finished cell; `results/<spec>/cells/<id>/` what the cell printed and its
run folder.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.bench import store
from toolkit.bench.measure import measured
from toolkit.bench.predict import predicted
from toolkit.bench.spec import Cell, Spec
from toolkit.bench.tables import NOT_RUN
from toolkit.machine.child import Child
from toolkit.machine.devices import Gpu, find_gpus, other_processes
from toolkit.machine.provenance import describe_environment
from toolkit.units import format_gib, format_seconds

Say = Callable[[str], None]
KEPT = ("metrics.jsonl", "summary.json", "settings.json", "environment.json", "error.log")


def run(spec: Spec, cells: Sequence[Cell], folder: Path, say: Say) -> list[dict[str, Any]]:
    """Run every cell that `folder` has no record of; return the records of all, in the order of the cells.

    A cell that runs out of memory, is refused, crashes or takes too long is a record like any other.

    Raises:
        RunFolderError: another sweep is writing this folder.
    """
    about = _about(spec)
    gpus, _ = find_gpus()
    with store.opened(folder) as known:
        ids = [cell.id(about) for cell in cells]
        waiting = [i for i, cell_id in enumerate(ids) if cell_id not in known]
        if len(waiting) < len(cells):
            say(f"{len(cells) - len(waiting)} of {len(cells)} cells are in {folder / store.CELLS} already")
        taken_s: list[float] = []
        for n_done, i in enumerate(waiting):
            record = _run_cell(spec, cells[i], ids[i], folder, gpus, about)
            store.append(folder, record)
            known[ids[i]] = record
            taken_s.append(record["wall_s"])
            left_s = statistics.fmean(taken_s) * (len(waiting) - n_done - 1)
            say(f"[{i + 1}/{len(cells)}] {line(spec, record)}" + (f"; {format_seconds(left_s)} left" if left_s else ""))
        return [known[cell_id] for cell_id in ids]


@contextmanager
def runner(spec: Spec, folder: Path) -> Iterator[Callable[[Cell], dict[str, Any]]]:
    """Hold the folder, and hand over what gives a cell's record: the one that is there, else that of a run.

    Raises:
        RunFolderError: another sweep is writing this folder.
    """
    about = _about(spec)
    gpus, _ = find_gpus()
    with store.opened(folder) as known:

        def run_cell(cell: Cell) -> dict[str, Any]:
            cell_id = cell.id(about)
            if cell_id not in known:
                known[cell_id] = _run_cell(spec, cell, cell_id, folder, gpus, about)
                store.append(folder, known[cell_id])
            return known[cell_id]

        yield run_cell


def listed(spec: Spec, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The cells as records that have not run."""
    gpus, _ = find_gpus()
    card = gpus[0] if gpus else None
    return [
        {
            "point": cell.point,
            "repeat": cell.repeat,
            "status": NOT_RUN,
            "why": "",
            "measured": {},
            "predicted": predicted(spec, cell, card),
        }
        for cell in cells
    ]


def line(spec: Spec, record: dict[str, Any]) -> str:
    """What a cell was and what came of it, in one line."""
    varied = (*spec.grid, *(name for row in spec.pairs for name in row))
    names = " ".join(f"{name}={record['point'].get(name)}" for name in dict.fromkeys(varied)) or record["id"]
    if record["status"] != "ok":
        return f"{names}: {record['status'].replace('_', ' ')}: {record['why']}"
    found = record["measured"]
    memory = found["peak_gib"]["process"]
    told = f"{format_seconds(found['step_s_median'])} a step, {found['tokens_per_s']:,.0f} tokens/s"
    return f"{names}: {told}" + (f", {format_gib(memory)}" if memory else "")


def _run_cell(
    spec: Spec, cell: Cell, cell_id: str, folder: Path, gpus: Sequence[Gpu], about: dict[str, Any]
) -> dict[str, Any]:
    place = (folder / "cells" / cell_id).resolve()  # the cell works in a folder of its own
    shutil.rmtree(place, ignore_errors=True)  # what an earlier sweep was killed in
    machine = _machine(gpus)
    child = Child([sys.executable, "-m", "toolkit.bench.cell"], place, _environment())
    run_folder = place / "run"
    request = {
        "engine": cell.engine,
        "recipe": str(spec.recipe_path),
        "argv": spec.command(cell),
        "run": str(run_folder),
    }
    found = child.run(request, spec.limit_s)
    figures = measured(run_folder, spec.warmup_steps) if found["status"] == "ok" else {}
    if found["status"] == "ok" and not figures["n_steps"]:
        found |= {"status": "failed", "why": f"no step beyond the {spec.warmup_steps} of the warm-up"}
    why = found["why"] or ("" if found["status"] == "ok" else _last_line(child.log))
    _keep_records(run_folder)
    return {
        "id": cell_id,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": spec.name,
        "point": cell.point,
        "repeat": cell.repeat,
        "status": found["status"],
        "why": why,
        "wall_s": found["wall_s"],
        "measured": figures,
        "predicted": predicted(spec, cell, gpus[0] if gpus else None),
        "machine": machine,
        "about": about,
    }


def _about(spec: Spec) -> dict[str, Any]:
    """What else decides the figures of a cell, and stands in its id."""
    environment = describe_environment(find_gpus()[0], {}, [])
    return {
        "recipe": spec.recipe_path.stem,
        "warmup_steps": spec.warmup_steps,
        "python": platform.python_version(),
        "versions": environment["versions"],
        "git_commit": environment["git_commit"],
        "card": [gpu["name"] for gpu in environment["gpus"]],
        "n_cpus": environment["n_cpus"],
    }


def _machine(gpus: Sequence[Gpu]) -> dict[str, Any]:
    """Who else works here, just before a cell starts."""
    others = [process for gpu in gpus[:1] for process in other_processes(gpu)]
    return {"load_1min": round(os.getloadavg()[0], 2), "others_on_card": len(others)}


def _environment() -> dict[str, str]:
    """This process's, with this package in front: a cell works in a folder of its own."""
    root = str(Path(__file__).parents[2])
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def _last_line(log: Path) -> str:
    """The last words of a cell, which for a run that was refused are its reason."""
    lines = [text.strip() for text in log.read_text(encoding="utf-8", errors="replace").splitlines() if text.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _keep_records(run_folder: Path) -> None:
    """Leave the records of a cell's run, not its weights and completions."""
    for path in run_folder.glob("*"):
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
