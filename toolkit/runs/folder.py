"""The run folder as a run writes it, so that a kill at any moment loses nothing; `runs.names` says what it holds."""

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
from toolkit.files import as_json, finite, replace_file, write_json
from toolkit.runs import metrics, reader
from toolkit.runs.completions import PARQUET, step_files, to_parquet
from toolkit.runs.names import ENVIRONMENT, FORMAT, LOCK, MEASUREMENTS, METRICS, PARITY, PROGRESS, SETTINGS, SUMMARY
from toolkit.runs.reader import checkpoint_step, is_complete
from toolkit.units import format_gib, gib

MIN_FREE_GIB = 0.25  # the embedded run needs 0.05; a full disk fails in the middle of a checkpoint


@dataclass
class Run:
    """One run folder, opened for writing by this process, or by the first of several (see `follow`).

    What this process wrote it also remembers: the folder is read once, when a run is continued.
    """

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
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The JSON files by name, as they stand on disk."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """metrics.jsonl, those of earlier parts of a resumed run included."""

    @property
    def writes(self) -> bool:
        """Whether this process writes the folder; where not, every method that would only remembers."""
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

    def wall_s(self) -> float:
        """Seconds of work on this run, parts before a resume included."""
        return self.wall_before_s + time.monotonic() - self.started

    def document(self, name: str) -> dict[str, Any]:
        """A JSON file of this folder; an empty mapping when it is not there yet."""
        return self.documents.get(name, {})

    def write(self, name: str, value: Mapping[str, Any]) -> Path:
        """Write `name` as JSON in one move; a reader sees the old file or the new one, never half."""
        self.documents[name] = as_json(value)
        return write_json(self.folder / name, value) if self.writes else self.folder / name

    def update(self, name: str, **values: Any) -> None:
        """Merge `values` into a JSON file of this folder."""
        self.write(name, self.document(name) | values)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one step to metrics.jsonl; NaN and infinities become null, which JSON can say."""
        self.n_appended += 1
        self.rows.append(finite(row))
        if self.writes:
            with (self.folder / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.rows[-1]) + "\n")

    def write_completions(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write completions as Parquet in one move; `name` is `before`, `after`, or what `step_name` gives."""
        if not self.writes:
            return
        self.completions.mkdir(exist_ok=True)
        replace_file(self.completions / f"{name}{PARQUET}", to_parquet(rows))

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint that was written to its end, or None."""
        n_processes = reader.world_size(self.folder)
        complete = [path for path in self.checkpoints.glob("checkpoint-*") if is_complete(path, n_processes)]
        return max(complete, key=checkpoint_step, default=None)

    def rewind_to(self, step: int) -> None:
        """Drop what was recorded after `step`: those steps are about to be run again."""
        self.rows = [row for row in self.rows if row[metrics.STEP] <= step]
        if not self.writes:
            return
        if (self.folder / METRICS).exists():
            replace_file(self.folder / METRICS, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
        for made_at, path in step_files(self.folder).items():
            if made_at > step:
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
            (self.folder / LOCK).unlink(missing_ok=True)


def create(recipe: str, output_dir: Path | None, settings: Mapping[str, Any]) -> Run:
    """Make a new run folder and write settings.json.

    Raises:
        RunFolderError: it holds something already, cannot be made, or its disk is nearly full.
    """
    folder = output_dir or _default_folder(recipe)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        is_run = (folder / SETTINGS).exists()
        found = "a run" if is_run else "files" if folder.is_dir() else "a file"
        following = f"--resume {folder}" if is_run else ""
        raise RunFolderError(f"--output_dir {folder} holds {found} already", "a new or empty folder", following)
    ensure_room(folder, MIN_FREE_GIB)
    try:
        existed = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(recipe, folder.resolve(), _lock(folder.resolve()), made_folder=not existed)
        run.write(SETTINGS, {"recipe": recipe, "format": FORMAT, "requested": dict(settings)})
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(
            f"--output_dir {folder} cannot be written ({error.strerror})", "a writable folder"
        ) from error
    return run


def reopen(folder: Path) -> Run:
    """Open an existing run to continue it; a RunFolderError where there is none, or another process is writing it."""
    reader.requested_settings(folder)
    run = Run("", folder.resolve(), _lock(folder.resolve()), resumed=True)
    return _with_records(run)


def follow(recipe: str, folder: Path, *, resumed: bool) -> Run:
    """The folder as a process sees it that leaves the writing to another one of the same run."""
    run = Run(recipe, folder, lock=None, resumed=resumed, made_folder=False)
    return _with_records(run) if resumed else run


def _with_records(run: Run) -> Run:
    """The run with what its earlier parts have left."""
    names = (SETTINGS, ENVIRONMENT, SUMMARY, PARITY, MEASUREMENTS, PROGRESS)
    run.documents = {name: reader.read_json(run.folder / name) for name in names if (run.folder / name).exists()}
    run.rows = reader.read_metrics(run.folder)
    run.recipe = run.document(SETTINGS)["recipe"]
    run.wall_before_s = float(run.document(PROGRESS).get("wall_s", 0.0))
    return run


def ensure_room(folder: Path, needed_gib: float, next_step: str = "make room, or choose another --output_dir") -> None:
    """Raise RunFolderError when the disk under `folder` has less than `needed_gib` free."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free_gib = gib(shutil.disk_usage(existing).free)
    if free_gib < needed_gib:
        raise RunFolderError(
            f"the disk under {folder} has {format_gib(free_gib)} free",
            f"at least {format_gib(needed_gib)}",
            next_step,
        )


def _default_folder(recipe: str) -> Path:
    base = Path("runs") / f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    return next(p for p in (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 1000))) if not p.exists())


def _lock(folder: Path) -> FileLock:
    """Hold the folder until this process ends, however it ends: the kernel drops the lock of a killed one."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(f"{folder} is being written by another process", "a run that has stopped") from error
    return lock
