"""The records of a sweep: one JSON object a line, appended whole, read up to what a kill has left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from toolkit.errors import RunFolderError
from toolkit.files import as_json, read_jsonl, replace_file

CELLS, LOCK = "cells.jsonl", ".lock"
FINAL = ("ok", "out_of_memory")
"""What a cell comes to that would come to it again."""
Record = dict[str, Any]


@contextmanager
def opened(folder: Path, *, retry: bool = False) -> Iterator[dict[str, Record]]:
    """Hold the folder for one sweep, and hand over its records by id.

    `retry`: without those of cells that were refused, failed or timed out.

    Raises:
        RunFolderError: it cannot be written, another sweep holds it, or a record is broken.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be written ({error.strerror})", "a writable folder") from error
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(f"another sweep is writing {folder}", "another --output, or wait") from error
    try:
        records = [record for record in read(folder) if not retry or record["status"] in FINAL]
        replace_file(folder / CELLS, "".join(_line(record) for record in records).encode())  # without half a line
        yield {record["id"]: record for record in records}
    finally:
        lock.release()


def read_finished(folder: Path) -> list[Record]:
    """What `read` finds; a RunFolderError where that is nothing."""
    records = read(folder)
    if not records:
        raise RunFolderError(
            f"{folder} holds no finished cell", f"a folder with {CELLS}", "toolkit bench run SPEC.yaml"
        )
    return records


def read(folder: Path) -> list[Record]:
    """The records of a folder or of a file of records; without half a line at the end, as a kill leaves it.

    Raises:
        RunFolderError: it cannot be read, or any other line is no record.
    """
    path = folder if folder.is_file() else folder / CELLS
    if not path.exists():
        return []
    try:
        records, problem = read_jsonl(path, _check)
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror})", "records of toolkit bench run") from error
    if problem and (len(records) + 1 < sum(bool(line.strip()) for line in lines) or lines[-1].endswith(b"\n")):
        raise RunFolderError(f"{path.parent}: {problem}", "whole records", "take that line out, or another --output")
    return records


def _check(record: Record) -> None:
    """Raise a KeyError, TypeError or ValueError where something is missing that every reader stands on."""
    if not all(isinstance(record[name], str) for name in ("id", "status")):
        raise TypeError
    for name in ("point", "measured"):
        dict(record[name])


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one, on the disk before this returns."""
    with (folder / CELLS).open("a", encoding="utf-8") as file:
        file.write(_line(record))
        file.flush()
        os.fsync(file.fileno())


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(as_json(record), ensure_ascii=False) + "\n"
