"""The completions that a run or an evaluation has kept, as one side of a comparison by a person."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import DataError, RunFolderError
from toolkit.runs.completions import JSONL, PARQUET, files_of, read_rows
from toolkit.runs.names import AFTER, EVALUATION, GREEDY, SETTINGS

COMPLETIONS = "completions"
WANTED = "a run folder, a folder of toolkit eval, or a file of their completions/"


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


def read(given: Path, name: str = "") -> Kept:
    """The greedy completions of an evaluation, or those that a run measured `after`; a file is taken as it is.

    `name`: one file of the folder instead, such as `before`.

    Raises:
        RunFolderError: no such folder, or one that kept nothing.
        DataError: a file that is no list of completions.
    """
    path = _file(given.expanduser(), name)
    rows, problem = read_rows(path)
    if problem or not rows:
        raise DataError(problem or f"{path} holds no completion", WANTED)
    for number, row in enumerate(rows, start=1):
        for column in ("prompt", "completion"):
            if not isinstance(row.get(column), (str, list)):
                wanted = "rows with prompt and completion, as a run keeps them"
                raise DataError(f"{path} row {number} has no {column}", wanted)
    return Kept(path, tuple(rows), hashlib.sha256(path.read_bytes()).hexdigest())


def _file(given: Path, name: str) -> Path:
    if given.is_file():
        return given
    if not given.is_dir():
        raise RunFolderError(f"{given} does not exist", WANTED)
    for stem in (name,) if name else (GREEDY, AFTER):
        for suffix in (PARQUET, JSONL):
            if (path := given / COMPLETIONS / f"{stem}{suffix}").is_file():
                return path
    remedy = f"measure it: toolkit eval {given}" if (given / SETTINGS).exists() else ""
    if files := files_of(given):
        found, other = f"{given} was not measured {name or AFTER} training", f"or give {[*files.values()][-1]}"
        raise RunFolderError(found, "a finished run", f"{other}, or {remedy}" if remedy else other)
    is_ours = any((given / record).exists() for record in (SETTINGS, EVALUATION))
    found = "has kept no completions" if is_ours else "is neither a run nor an evaluation"
    raise RunFolderError(f"{given} {found}", WANTED, remedy)
