"""A run folder as anyone reads it who did not write it: whole records, and what a kill has left of the last line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolkit.errors import RunFolderError
from toolkit.files import read_jsonl
from toolkit.runs import metrics
from toolkit.runs.names import ENVIRONMENT, METRICS, SETTINGS

OPTIMIZERS = ("optimizer.pt", "optimizer.bin", "global_step*")  # in a checkpoint: of one card or DDP, FSDP, DeepSpeed


def read_json(path: Path) -> dict[str, Any]:
    """A JSON record of a run; a RunFolderError where it cannot be read, or is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror})", "the record of a run") from error
    except ValueError as error:
        raise RunFolderError(f"{path} is no JSON ({error})", "the record of a run") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} holds a {type(content).__name__}", "the JSON object that a run writes")
    return content


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, up to the first that is not whole, as a kill leaves the last; none without a file."""
    return rows_of(folder / METRICS)[0]


def rows_of(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of a metrics file up to the first that cannot be read, and a sentence on that one; empty for none.

    Raises:
        RunFolderError: the file is there and cannot be opened.
    """
    try:
        return read_jsonl(path, lambda row: int(row[metrics.STEP])) if path.exists() else ([], "")
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror})", "the metrics of a run") from error


def requested_settings(folder: Path) -> dict[str, Any]:
    """The flat settings that a run was started with; a RunFolderError where there is no run, or they cannot be read."""
    not_one = RunFolderError(f"--resume {folder} is not a run folder", f"a folder with {SETTINGS}", "see runs/")
    if not (folder / SETTINGS).exists():
        raise not_one
    requested = read_json(folder / SETTINGS).get("requested")
    if not isinstance(requested, dict):
        raise not_one
    return requested


def given_names(folder: Path) -> set[str]:
    """The settings that a person gave for this run, by name, rather than a preset or a default."""
    return set(read_json(folder / SETTINGS).get("given", []))


def world_size(folder: Path) -> int:
    """The processes that a run was started with."""
    path = folder / ENVIRONMENT
    return read_json(path).get("world_size", 1) if path.exists() else 1


def is_complete(checkpoint: Path, n_processes: int = 1) -> bool:
    """Say whether a checkpoint was written to its end: transformers writes trainer_state.json last.

    Each of several processes writes its own random state, and they do not wait for one another.
    """
    random_states = [f"rng_state_{i}.pth" for i in range(n_processes)] if n_processes > 1 else ["rng_state.pth"]
    parts = ("scheduler.pt", "trainer_state.json", *random_states)
    if not all((checkpoint / part).exists() for part in parts) or not list(checkpoint.glob("*.safetensors")):
        return False
    if not any(path for name in OPTIMIZERS for path in checkpoint.glob(name)):
        return False
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def checkpoint_step(checkpoint: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("checkpoint-"))
