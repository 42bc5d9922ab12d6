"""A run as its folder tells it, whoever reads it and however the run ended: what cannot be read is said, not raised."""

from __future__ import annotations

import fcntl
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import RunFolderError
from toolkit.findings import LEVELS, Finding
from toolkit.runs import metrics, shapes
from toolkit.runs.completions import files_of, read_rows, weighted_sum
from toolkit.runs.names import (
    AFTER,
    BEFORE,
    ENVIRONMENT,
    ERROR_LOG,
    FORMAT,
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
_OF_THE_END = (
    *(metrics.REWARD, metrics.REWARD_STD, metrics.NO_SIGNAL, metrics.LENGTH, metrics.TRUNCATED),
    *(metrics.ENTROPY, metrics.KL, metrics.GRAD_NORM),
)
_OF_A_STEP = (metrics.STEP_S, metrics.ROLLOUT_S, metrics.REWARD_S, metrics.UPDATE_S, metrics.TOKENS_PER_S)
HEALTH = "health"
"""Of summary.json, what the rules of health found: `{"level", "verdicts", "not_judged"}`, where verdicts are those that
tripped, each with `rule`, `name`, `level`, `first_step`, `last_step`, `stands`, `found`, `wanted`, `next`, `means` and
`source` (`control.health.Verdict`)."""
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
    """What could not be read, a sentence each."""

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
    def format(self) -> int:
        """Of the folder; see `names.FORMAT`."""
        said = self.at(SETTINGS, "format")
        return said if isinstance(said, int) else 1

    @property
    def age(self) -> str:
        """A sentence on a folder that another version of this package has written; empty for one of this version."""
        if self.format < FORMAT:
            return "written by an older version of the toolkit; what that did not record is left out"
        return "written by a newer version of the toolkit; what it added is not shown" if self.format > FORMAT else ""

    @property
    def n_steps(self) -> int:
        """Optimizer steps that are recorded."""
        return int(self.rows[-1][metrics.STEP]) if self.rows else 0

    def column(self, key: str) -> list[float | None]:
        """A metric, one value a row; None where a row has no finite number."""
        return [shapes.number(row.get(key)) for row in self.rows]

    def measurement(self, when: str) -> dict[str, Any]:
        """What was measured `before` or `after`, as `shapes.measurement` has it; empty where nothing was.

        From the summary, or where that is missing from the measurements.
        """
        side = next((kept for name in (SUMMARY, MEASUREMENTS) if (kept := self.at(name, when))), None)
        return shapes.measurement(side) if side else {}

    @property
    def gain(self) -> tuple[float, tuple[float, float] | None] | None:
        """The paired gain in pass@1 with its 95 % interval, as shares; None where it is not known."""
        value = shapes.number(self.at(SUMMARY, "difference", "value"))
        return None if value is None else (value, shapes.interval(self.at(SUMMARY, "difference", "interval")))

    def completions(self, name: str) -> tuple[list[dict[str, Any]], str]:
        """The completions of `before`, `after` or a step, each with its total; and a sentence on a broken file."""
        path = files_of(self.folder).get(name)
        if path is None:
            return [], f"{self.folder.name} has no completions of {name}"
        rows, fault = read_rows(path)
        weights = self.weights
        for row in rows:
            parts = row.get("rewards")
            if (
                row.get("reward") is None and isinstance(parts, Mapping) and parts.keys() <= weights.keys()
            ):  # an older run
                row["reward"] = weighted_sum(parts.values(), (weights[part] for part in parts))
        return rows, fault

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each reward function as the run began."""
        rewards = self.at(SETTINGS, "rewards") or []
        return {str(reward.get("name")): shapes.number(reward.get("weight")) or 0.0 for reward in rewards}

    def verdicts(self) -> list[Finding] | None:
        """What the rules of health found, with the steps; None where they have not judged this run."""
        kept = self.at(SUMMARY, HEALTH, "verdicts")
        if not isinstance(kept, list):
            return None
        return [_finding(one) for one in kept if isinstance(one, Mapping) and one.get("level") in LEVELS]

    def last_mean(self, key: str, n: int = LAST_STEPS) -> float | None:
        """The mean of a metric over the last `n` rows that have it."""
        values = [value for value in self.column(key) if value is not None][-n:]
        return sum(values) / len(values) if values else None

    def figures(self) -> dict[str, float | None]:
        """What the last steps came to, medians of times and rates, and the largest peak; by metric key."""
        last = (*_OF_THE_END, *metrics.reward_means(key for row in self.rows for key in row).values())
        found = {key: self.last_mean(key) for key in last}
        for key in _OF_A_STEP:
            values = [value for value in self.column(key) if value is not None]
            found[key] = statistics.median(values) if values else None
        peaks = [value for value in self.column(metrics.RESERVED_GIB) if value is not None]
        return found | {metrics.RESERVED_GIB: max(peaks, default=None)}

    def summary(self) -> dict[str, Any]:
        """What a list of runs says of this one; a run without summary.json has one, too."""
        wall_s = self.at(SUMMARY, "wall_s") or self.at(PROGRESS, "wall_s")
        return {
            "folder": str(self.folder),
            "recipe": self.at(SETTINGS, "recipe"),
            "status": self.status,
            "model": self.asked.get("model"),
            "seed": self.asked.get("seed"),
            "format": self.format,
            "steps": self.n_steps,
            "max_steps": self.asked.get("max_steps"),
            "reward": self.last_mean(metrics.REWARD),
            "before": _pass_at_1(self.measurement(BEFORE)),
            "after": _pass_at_1(self.measurement(AFTER)),
            "difference": None if self.gain is None else {"value": self.gain[0], "interval": self.gain[1]},
            "wall_s": wall_s,
            "warnings": self.warnings,
        }

    def as_json(self) -> dict[str, Any]:
        """All that is known of the run but its rows and texts."""
        documents = {name.removesuffix(".json"): self.document(name) for name in (SETTINGS, ENVIRONMENT, SUMMARY)}
        return {**self.summary(), "age": self.age, "figures": self.figures(), **documents}


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
                record.documents[name], odd = shapes.cleaned(name, read_json(folder / name))
                record.warnings += odd
            except RunFolderError as error:
                record.warnings.append(error.found)
    if not (folder / SETTINGS).exists():
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
    if is_locked(record.folder):
        return "running"
    if (record.folder / LOCK).exists():  # a run that ends takes it away, unless it is killed
        return "killed"
    said = record.at(SUMMARY, "status")
    if said in ("finished", "stopped", "failed"):
        return said
    if record.at(SUMMARY, "after"):  # an older version, which had no word for it
        return "finished"
    return "failed" if (record.folder / ERROR_LOG).exists() else "stopped"


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


def _pass_at_1(side: Mapping[str, Any]) -> dict[str, Any] | None:
    """The figures of a measurement that a list shows."""
    if not side:
        return None
    return {name: side.get(name) for name in ("pass_at_1", "interval", "n", "mean_score")}


def _finding(kept: Mapping[str, Any]) -> Finding:
    name, found, wanted, next_step = (str(kept.get(key) or "") for key in ("name", "found", "wanted", "next"))
    first, last = kept.get("first_step"), kept.get("last_step")
    when = "" if first is None else f" (step {first})" if first == last else f" (steps {first} to {last})"
    rule = f"{kept['rule']} " if kept.get("rule") else ""
    return Finding(f"{rule}{name}", kept["level"], f"{found}{when}", wanted, next_step)
