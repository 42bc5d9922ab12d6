"""A run as its folder tells it, whoever reads it and however the run ended: what cannot be read is said, not raised."""

from __future__ import annotations

import fcntl
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import RunFolderError
from toolkit.runs import metrics
from toolkit.runs.names import (
    ENVIRONMENT,
    ERROR_LOG,
    LOCK,
    MEASUREMENTS,
    METRICS,
    PARITY,
    PROGRESS,
    REWARD_CHECK,
    SETTINGS,
    SUMMARY,
)
from toolkit.runs.reader import read_json, rows_of

Status = Literal["running", "finished", "stopped", "failed", "killed"]
"""Stopped: by a person, or by a rule, with its last step saved. Failed: by an error. Killed: without a word."""
DOCUMENTS = (SETTINGS, ENVIRONMENT, SUMMARY, MEASUREMENTS, PROGRESS, PARITY, REWARD_CHECK)
LAST_STEPS = 5
"""Steps at the end whose mean is the reward that a run reached."""


@dataclass
class Record:
    """A run folder as it was read."""

    folder: Path
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The JSON files by name; those that are missing or cannot be read are left out."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """metrics.jsonl, one row a step, up to what cannot be read."""
    status: Status = "stopped"
    warnings: list[str] = field(default_factory=list)
    """What is not as a run of this version leaves it, one sentence each."""

    def document(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; an empty mapping where it is not there."""
        return self.documents.get(name, {})

    def at(self, name: str, *path: str) -> Any:
        """A value in a JSON file by its path; None where there is none."""
        found: Any = self.document(name)
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    @property
    def asked(self) -> Mapping[str, Any]:
        """The settings that were asked for, flat."""
        return self.at(SETTINGS, "requested") or {}

    @property
    def n_steps(self) -> int:
        """Optimizer steps that are recorded."""
        return int(self.rows[-1][metrics.STEP]) if self.rows else 0

    def column(self, key: str) -> list[float | None]:
        """A metric, one value a row; None where a row has no finite number."""
        return [_number(row.get(key)) for row in self.rows]

    def last_mean(self, key: str, n: int = LAST_STEPS) -> float | None:
        """The mean of a metric over the last `n` rows that have it."""
        values = [value for value in self.column(key) if value is not None][-n:]
        return sum(values) / len(values) if values else None

    def summary(self) -> dict[str, Any]:
        """What a list of runs says of this one; a run without summary.json has one, too."""
        wall_s = self.at(SUMMARY, "wall_s") or self.at(PROGRESS, "wall_s")
        measured = self.document(MEASUREMENTS)
        return {
            "folder": str(self.folder),
            "recipe": self.at(SETTINGS, "recipe"),
            "status": self.status,
            "model": self.asked.get("model"),
            "seed": self.asked.get("seed"),
            "steps": self.n_steps,
            "max_steps": self.asked.get("max_steps"),
            "reward": self.last_mean(metrics.REWARD),
            "before": _pass_at_1(self.at(SUMMARY, "before") or measured.get("before")),
            "after": _pass_at_1(self.at(SUMMARY, "after") or measured.get("after")),
            "difference": self.at(SUMMARY, "difference"),
            "wall_s": wall_s,
            "warnings": self.warnings,
        }


def read_record(folder: Path) -> Record:
    """Read a run folder.

    Raises:
        RunFolderError: it is no folder, or holds neither the settings nor the metrics of a run.
    """
    if not is_run(folder):
        found = "is not a folder" if folder.exists() and not folder.is_dir() else "is not a run folder"
        wanted = f"a folder with {SETTINGS} or {METRICS}"
        raise RunFolderError(f"{folder} {found if folder.exists() else 'does not exist'}", wanted, "toolkit runs ls")
    record = Record(folder)
    for name in DOCUMENTS:
        if (folder / name).exists():
            try:
                record.documents[name] = read_json(folder / name)
            except RunFolderError as error:
                record.warnings.append(f"{error.found}")
    if SETTINGS not in record.documents and not record.warnings:
        record.warnings.append(f"{SETTINGS} is missing")
    record.rows, broken = rows_of(folder / METRICS)
    if broken:
        record.warnings.append(broken)
    record.status = status_of(record)
    return record


def is_run(folder: Path) -> bool:
    """Whether a folder holds what a run leaves first."""
    return folder.is_dir() and any((folder / name).exists() for name in (SETTINGS, METRICS))


def find_runs(folder: Path) -> list[Path]:
    """The run folders in a folder, or that folder itself where it is one, the oldest first.

    Raises:
        RunFolderError: it does not exist, or is a file.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise RunFolderError(f"{folder} {found}", "a folder of runs, such as runs/")
    if is_run(folder):
        return [folder]
    return sorted((path for path in folder.iterdir() if is_run(path)), key=_began)


def status_of(record: Record) -> Status:
    """How it ended, or that it has not."""
    said = record.at(SUMMARY, "status")
    if is_locked(record.folder):
        return "running"
    if said in ("finished", "stopped", "failed"):
        return said
    if record.at(SUMMARY, "after"):
        return "finished"
    if (record.folder / ERROR_LOG).exists():
        return "failed"
    return "killed" if (record.folder / LOCK).exists() else "stopped"


def is_locked(folder: Path) -> bool:
    """Whether a process is writing the folder: the kernel drops the lock of one that was killed."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two readers do not take each other for a run
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or a disk that has no locks
        return False
    return False


def _began(folder: Path) -> float:
    first = folder / SETTINGS if (folder / SETTINGS).exists() else folder / METRICS
    return first.stat().st_mtime


def _pass_at_1(side: Any) -> dict[str, Any] | None:
    """The figures of a measurement that a list shows."""
    if not isinstance(side, Mapping):
        return None
    return {name: side.get(name) for name in ("pass_at_1", "interval", "n", "mean_score")}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None
