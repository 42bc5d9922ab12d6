"""Run the cells of a sweep, one after the other; whatever ends it, what is finished stays and is not run again.

`results/<spec>/cells.jsonl` has one record a finished cell; `results/<spec>/cells/<id>/` what the cell printed and its
run folder.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.bench import store
from toolkit.bench.machine import describe, in_words
from toolkit.bench.measure import measured, settings_of
from toolkit.bench.predict import predicted
from toolkit.bench.progress import Progress, shown
from toolkit.bench.spec import Cell, Spec
from toolkit.bench.tables import NOT_RUN
from toolkit.bench.utilisation import utilisation
from toolkit.errors import ModelError, SettingsError
from toolkit.machine.child import GRACE_S, Child
from toolkit.machine.devices import LIKE_GIB, Gpu, find_gpus
from toolkit.machine.provenance import describe_environment
from toolkit.models import random_cache
from toolkit.models.random import checkpoint_dtype
from toolkit.units import format_gib, format_seconds
from toolkit.vram.catalog import find
from toolkit.vram.run_plan import card_of

Say = Callable[[str], None]
KEPT = ("metrics.jsonl", "summary.json", "settings.json", "environment.json", "error.log")


def run(
    spec: Spec, cells: Sequence[Cell], folder: Path, say: Say, *, on_screen: bool = False, retry: bool = False
) -> list[dict[str, Any]]:
    """Run every cell that `folder` has no record of; return the records of all, in the order of the cells.

    A cell that runs out of memory, is refused, crashes or takes too long is a record like any other. `on_screen`: a
    terminal shows the cell in progress, too. `retry`: see `store.opened`.

    Raises:
        SettingsError: a `cap` without a card, or above it; an engine that is not installed.
        RunFolderError: another sweep is writing this folder.
    """
    _check_engines(spec, cells)
    with runner(spec, folder, retry=retry) as run_cell:
        about, known = _about(spec), {record["id"] for record in store.read(folder)}
        ids = [cell.id(about) for cell in cells]
        waiting = [i for i, cell_id in enumerate(ids) if cell_id not in known]
        progress = Progress(len(cells), len(cells) - len(waiting))
        if progress.n_kept:
            say(f"{progress.n_kept} of {len(cells)} cells are in {folder / store.CELLS} already")
        with shown(progress, on_screen=on_screen):
            for i in waiting:
                progress.begin(_name(spec, cells[i].point, ids[i]))
                record = run_cell(cells[i])
                progress.end()
                busy = in_words(record["machine"])
                told = line(spec, record) + (f" ({busy})" if busy else "") + progress.left()
                say(f"[{progress.n_done}/{len(cells)}] {told}")
        return [run_cell(cell) for cell in cells]


@contextmanager
def runner(spec: Spec, folder: Path, *, retry: bool = False) -> Iterator[Callable[[Cell], dict[str, Any]]]:
    """Hold the folder, and hand over what gives a cell's record: the one that is there, else that of a run.

    Raises:
        SettingsError: a `cap` without a card, or above it.
        RunFolderError: another sweep is writing this folder.
    """
    about = _about(spec)
    gpus, why_no_gpu = find_gpus()
    _check_cap(spec, gpus, why_no_gpu)
    with store.opened(folder, retry=retry) as known:

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


def _name(spec: Spec, point: Mapping[str, Any], otherwise: str) -> str:
    """A cell by the settings in which the cells of a sweep differ."""
    varied = (*spec.grid, *(name for row in spec.pairs for name in row))
    return " ".join(f"{name}={point.get(name)}" for name in dict.fromkeys(varied)) or otherwise


def line(spec: Spec, record: dict[str, Any]) -> str:
    """What a cell was and what came of it, in one line."""
    names = _name(spec, record["point"], record["id"])
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
    machine = describe(gpus)
    weights_s, began = 0.0, time.monotonic()
    try:
        model = _random_weights(spec, cell, gpus)
        weights_s = time.monotonic() - began
        found = _started(spec, cell, place, model)
    except ModelError as error:  # of random weights: no room on the disk
        found = {"status": "refused", "why": str(error), "wall_s": round(time.monotonic() - began, 1)}
    run_folder, settings = place / "run", spec.resolved(cell)
    figures = _figures(spec, cell, run_folder, found, gpus)
    if found["status"] == "ok" and not figures["n_steps"]:
        found |= {"status": "failed", "why": f"no step beyond the {spec.warmup_steps} of the warm-up"}
    why = found["why"] or ("" if found["status"] == "ok" else _last_line(place / "log"))
    record = {
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
        "seed": settings.record.seed,
        "settings": settings_of(run_folder),
        "import_s": found.get("import_s"),
    }
    _keep_records(run_folder)
    if "run_s" in found:
        own_s = time.monotonic() - began - weights_s - found["import_s"] - found["run_s"]
        record["overhead_s"] = round(max(0.0, own_s), 2)  # the clock of a process begins in steps of 10 ms
    return record


def _check_cap(spec: Spec, gpus: Sequence[Gpu], why_no_gpu: str) -> None:
    if spec.cap_gib is None:
        return
    if not gpus:
        found = f"{spec.path}: cap is {spec.cap}, and there is no card to limit ({why_no_gpu})"
        raise SettingsError(found, "a CUDA card, or no cap", "--dry_run has the plan for it")
    if spec.cap_gib > gpus[0].total_gib:
        found = f"{spec.path}: cap is {spec.cap}, and {gpus[0].name} has {format_gib(gpus[0].total_gib)}"
        raise SettingsError(found, "a smaller one")


def _started(spec: Spec, cell: Cell, place: Path, model: Path | None) -> dict[str, Any]:
    """Run a cell in a process of its own, and return what that found."""
    _clear(place)
    like = {LIKE_GIB: f"{spec.cap_gib}"} if spec.cap_gib is not None else {}
    child = Child([sys.executable, "-m", "toolkit.bench.cell"], place, _environment() | like)
    request = {
        "engine": cell.engine,
        "recipe": str(spec.recipe_path),
        "argv": spec.command(cell, model),
        "run": str(place / "run"),
    }
    return child.run(request, spec.limit_s)


def _figures(spec: Spec, cell: Cell, run_folder: Path, found: Mapping[str, Any], gpus: Sequence[Gpu]) -> dict[str, Any]:
    """What a cell that ended well has measured."""
    if found["status"] != "ok":
        return {}
    settings = spec.resolved(cell)
    rollout = settings.rollout
    n_sequences = rollout.per_device_train_batch_size * rollout.gradient_accumulation_steps
    figures = measured(run_folder, spec.warmup_steps, n_sequences)
    if figures["n_steps"]:
        figures["peak_gib"] |= {"resident": found["process_gib"], "pss": found["pss_gib"]}
        figures["utilisation"] = utilisation(settings, card_of(gpus[0])[0] if gpus else None, figures)
    return figures


def _random_weights(spec: Spec, cell: Cell, gpus: Sequence[Gpu]) -> Path | None:
    """The folder of a cell's random weights, made where it is not there; None for the model's own."""
    if spec.weights != "random":
        return None
    settings = spec.resolved(cell)
    return random_cache.ensure(
        find(settings.model.model), checkpoint_dtype(gpus[0] if gpus else None), in_4bit=settings.model.load_in_4bit
    )


def _clear(place: Path) -> None:
    """Remove what an earlier sweep was killed in; its cell ends at once, but may be writing still."""
    deadline = time.monotonic() + GRACE_S
    while place.exists() and time.monotonic() < deadline:
        shutil.rmtree(place, ignore_errors=True)
        time.sleep(0.05 if place.exists() else 0)


def _about(spec: Spec) -> dict[str, Any]:
    """What else decides the figures of a cell, and stands in its id."""
    environment = describe_environment(find_gpus()[0], {}, [])
    asked = {"cap": spec.cap, "weights": None if spec.weights == "pretrained" else spec.weights}
    return {
        **{name: value for name, value in asked.items() if value is not None},
        "recipe": spec.recipe_path.stem,
        "warmup_steps": spec.warmup_steps,
        "python": platform.python_version(),
        "versions": environment["versions"],
        "git_commit": environment["git_commit"],
        "card": [gpu["name"] for gpu in environment["gpus"]],
        "n_cpus": environment["n_cpus"],
    }


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


def _check_engines(spec: Spec, cells: Sequence[Cell]) -> None:
    if any(cell.engine == "unsloth" for cell in cells) and importlib.util.find_spec("unsloth") is None:
        found = f"{spec.path}: engine is unsloth, which is not installed"
        raise SettingsError(found, "Unsloth, or another engine", 'pip install -e ".[gpu]"')
