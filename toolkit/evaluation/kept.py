"""The completions that a run or an evaluation has kept, as one side of a comparison."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.data import rows
from toolkit.errors import DataError, RunFolderError
from toolkit.runs.names import SETTINGS

COMPLETIONS = "completions"
WANTED = "a run folder, an evaluation's folder, or one of their completions/*.jsonl"


@dataclass(frozen=True)
class Kept:
    """A file of completions, read."""

    path: Path
    rows: tuple[dict[str, Any], ...]
    """Each with `prompt` and `completion`."""
    sha256: str

    @property
    def folder(self) -> Path:
        """The folder of the run or evaluation."""
        return self.path.parent.parent if self.path.parent.name == COMPLETIONS else self.path.parent

    @property
    def name(self) -> str:
        """Short, and different for the two measurements of one run: `gsm8k_r1-20261121-120000/after`."""
        return f"{self.folder.resolve().name}/{self.path.stem}"


def read(given: Path) -> Kept:
    """What a folder kept last: `after` of a run, `completions.jsonl` of an evaluation; a file is taken as it is.

    Raises:
        RunFolderError: no such folder, or one that kept nothing.
        DataError: a file that is no list of completions; see `rows.read`.
    """
    path = _file(given.expanduser())
    found = []
    for number, row in rows.read(path):
        missing = next((name for name in ("prompt", "completion") if not isinstance(row.get(name), (str, list))), None)
        if missing:
            wanted = "rows with prompt and completion, as a run keeps them"
            raise DataError(f"{rows.place(path, number)} has no {missing}", wanted)
        found.append(row)
    if not found:
        raise DataError(f"{path} holds no completion", WANTED)
    return Kept(path, tuple(found), hashlib.sha256(path.read_bytes()).hexdigest())


def _file(given: Path) -> Path:
    if given.is_file():
        return given
    if not given.is_dir():
        raise RunFolderError(f"{given} does not exist", WANTED)
    for path in (given / COMPLETIONS / "after.jsonl", given / f"{COMPLETIONS}.jsonl"):
        if path.is_file():
            return path
    kept = sorted((given / COMPLETIONS).glob("*.jsonl"))
    if kept:
        raise RunFolderError(f"{given} was not measured after training", "a finished run", f"or give {kept[-1]}")
    what = "a run without completions" if (given / SETTINGS).exists() else "neither a run nor an evaluation"
    raise RunFolderError(f"{given} is {what}", WANTED)
