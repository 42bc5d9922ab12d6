"""The run folder: everything a run leaves behind, written so that a kill at any moment loses nothing.

settings.json       what was asked (flat), and after the trainer is built what took effect
environment.json    versions, platform, card, command line
metrics.jsonl       one line a step, TRL's keys and ours
completions/        step_00001.jsonl: prompt, completion, answer, each reward; before.jsonl, after.jsonl
checkpoints/        checkpoint-N, as transformers writes them
parity.json         every check that the sampler draws from the weights in training, where it is not the trainer itself
measurements.json   before and after, with every verdict
reward_check.json   what the check of the rewards found before the first step
adapter/            the LoRA adapter and the tokenizer
summary.json        before, after, wall time, steps, backend, model, seed, memory planned and measured
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from toolkit.errors import RunFolderError
from toolkit.files import finite, replace_file, write_json
from toolkit.runs.checkpoints import checkpoint_step, is_complete
from toolkit.units import format_gib, gib

PARITY_FILE = "parity.json"
MIN_FREE_GIB = 0.25  # the embedded run needs 0.05; a full disk fails in the middle of a checkpoint


@dataclass
class Run:
    """One run folder, opened for writing by this process, or by the first of several (see `follow`)."""

    recipe: str
    folder: Path
    lock: FileLock | None
    resumed: bool = False
    made_folder: bool = True
    """Whether this process made the folder, rather than found it empty."""
    started: float = field(default_factory=time.monotonic)
    wall_before_s: float = 0.0
    """Wall seconds of earlier parts of a resumed run."""
    n_appended: int = 0
    """Steps recorded by this process."""

    @property
    def writes(self) -> bool:
        """Whether this process writes the folder; where not, every method that would does nothing."""
        return self.lock is not None

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def completions(self) -> Path:
        return self.folder / "completions"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def wall_s(self) -> float:
        """Seconds of work on this run, parts before a resume included."""
        return self.wall_before_s + time.monotonic() - self.started

    def write(self, name: str, value: Mapping[str, Any]) -> Path:
        """Write `name` as JSON in one move; a reader sees the old file or the new one, never half."""
        return write_json(self.folder / name, value) if self.writes else self.folder / name

    def read(self, name: str) -> dict[str, Any]:
        """Read a JSON file of this folder; an empty mapping when it is not there yet."""
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def update(self, name: str, **values: Any) -> None:
        """Merge `values` into a JSON file of this folder."""
        self.write(name, self.read(name) | values)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one step to metrics.jsonl; NaN and infinities become null, which JSON can say."""
        self.n_appended += 1
        if self.writes:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite(row)) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, those of earlier parts of a resumed run included."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def write_completions(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write completions, one JSON object a line; `name` is `before`, `after`, or what `step_name` gives."""
        if not self.writes:
            return
        lines = "".join(json.dumps(finite(row), ensure_ascii=False) + "\n" for row in rows)
        self.completions.mkdir(exist_ok=True)
        replace_file(self.completions / f"{name}.jsonl", lines.encode())

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint that was written to its end, or None."""
        n_processes = world_size(self.folder)
        complete = [path for path in self.checkpoints.glob("checkpoint-*") if is_complete(path, n_processes)]
        return max(complete, key=checkpoint_step, default=None)

    def rewind_to(self, step: int) -> None:
        """Drop what was recorded after `step`: those steps are about to be run again."""
        if not self.writes:
            return
        if self.metrics.exists():
            kept = [line for line in self.metrics.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
            replace_file(self.metrics, "".join(line + "\n" for line in kept).encode())
        for path in self.completions.glob("step_*.jsonl"):
            if int(path.stem.removeprefix("step_")) > step:
                path.unlink()
        for path in self.checkpoints.glob("checkpoint-*"):
            if checkpoint_step(path) > step:
                shutil.rmtree(path)

    def remove(self) -> None:
        """Take back a run that came to nothing: the folder if this process made it, else what is in it."""
        if not self.writes:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self.made_folder:
            self.folder.mkdir()

    def close(self) -> None:
        """Release the folder."""
        if self.lock is not None:
            self.lock.release()
            (self.folder / "run.lock").unlink(missing_ok=True)


def create(recipe: str, output_dir: Path | None, settings: Mapping[str, Any]) -> Run:
    """Make a new run folder and write settings.json.

    Raises:
        RunFolderError: it holds something already, cannot be made, or its disk is nearly full.
    """
    folder = output_dir or _default_folder(recipe)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        is_run = (folder / "settings.json").exists()
        found = "a run" if is_run else "files" if folder.is_dir() else "a file"
        following = f"--resume {folder}" if is_run else ""
        raise RunFolderError(f"--output_dir {folder} holds {found} already", "a new or empty folder", following)
    ensure_room(folder, MIN_FREE_GIB)
    try:
        existed = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(recipe, folder.resolve(), _lock(folder.resolve()), made_folder=not existed)
        run.write("settings.json", {"recipe": recipe, "requested": dict(settings)})
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(
            f"--output_dir {folder} cannot be written ({error.strerror})", "a writable folder"
        ) from error
    return run


def reopen(folder: Path) -> Run:
    """Open an existing run to continue it.

    Raises:
        RunFolderError: no such run, or another process is writing it.
    """
    if not (folder / "settings.json").exists():
        raise RunFolderError(f"--resume {folder} is not a run folder", "a folder with settings.json", "see runs/")
    folder = folder.resolve()
    recipe = json.loads((folder / "settings.json").read_text(encoding="utf-8"))["recipe"]
    run = Run(recipe, folder, _lock(folder), resumed=True)
    run.wall_before_s = float(run.read("progress.json").get("wall_s", 0.0))
    return run


def follow(recipe: str, folder: Path, *, resumed: bool) -> Run:
    """The folder as a process sees it that leaves the writing to another one of the same run."""
    return Run(recipe, folder, lock=None, resumed=resumed, made_folder=False)


def requested_settings(folder: Path) -> dict[str, Any]:
    """The flat settings that a run was started with.

    Raises:
        RunFolderError: no such run, or its settings cannot be read.
    """
    path = folder / "settings.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["requested"]
    except (OSError, ValueError, KeyError) as error:
        raise RunFolderError(
            f"--resume {folder} is not a run folder", "a folder with settings.json", "see runs/"
        ) from error


def world_size(folder: Path) -> int:
    """The processes that a run was started with."""
    path = folder / "environment.json"
    return json.loads(path.read_text(encoding="utf-8")).get("world_size", 1) if path.exists() else 1


def ensure_room(folder: Path, needed_gib: float) -> None:
    """Raise RunFolderError when the disk under `folder` has less than `needed_gib` free."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free_gib = gib(shutil.disk_usage(existing).free)
    if free_gib < needed_gib:
        raise RunFolderError(
            f"the disk under {folder} has {format_gib(free_gib)} free",
            f"at least {format_gib(needed_gib)}",
            "make room, or choose another --output_dir",
        )


def step_name(step: int) -> str:
    """The name of a training step's completions: `step_00012`."""
    return f"step_{step:05d}"


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**62  # a line cut by a kill is dropped


def _default_folder(recipe: str) -> Path:
    base = Path("runs") / f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    return next(p for p in (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 1000))) if not p.exists())


def _lock(folder: Path) -> FileLock:
    """Hold the folder until this process ends, however it ends: the kernel drops the lock of a killed one."""
    lock = FileLock(folder / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(f"{folder} is being written by another process", "a run that has stopped") from error
    return lock
