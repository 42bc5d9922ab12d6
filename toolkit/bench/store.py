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
Record = dict[str, Any]


@contextmanager
def opened(folder: Path) -> Iterator[dict[str, Record]]:
    """Hold the folder for one sweep, and hand over its records by id.

    Raises:
        RunFolderError: it cannot be written, or another sweep holds it.
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
        records = read(folder)
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
    """The records of a folder or of a file of records, up to the first that is not whole."""
    path = folder if folder.is_file() else folder / CELLS
    return read_jsonl(path, lambda record: record["id"])[0] if path.exists() else []


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one, on the disk before this returns."""
    with (folder / CELLS).open("a", encoding="utf-8") as file:
        file.write(_line(record))
        file.flush()
        os.fsync(file.fileno())


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(as_json(record), ensure_ascii=False) + "\n"
