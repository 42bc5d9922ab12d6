"""Files that are written whole or not at all, and YAML that is read or refused in one line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.errors import SettingsError, ToolkitError
from toolkit.units import plural


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one move: a reader sees the old file or the new one, never half.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, content: bytes) -> None:
    """Write the file that --output names, whole or not at all.

    Raises:
        SettingsError: the folder is missing or cannot be written.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        found = f"--output {path} cannot be written ({error.strerror})"
        raise SettingsError(found, "a file name in a writable folder") from error


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Write a mapping as JSON, atomically; see `as_json`."""
    replace_file(path, (json.dumps(as_json(value), indent=2, ensure_ascii=False) + "\n").encode())
    return path


def read_jsonl(path: Path, needs: Callable[[dict[str, Any]], object] = bool) -> tuple[list[dict[str, Any]], str]:
    """The JSON objects of a file, one a line, up to the first that is not whole, as a kill leaves the last.

    Beside them a sentence on that one; empty where all were read. `needs` raises a KeyError, TypeError or ValueError
    where a line lacks something.

    Raises:
        OSError: the file cannot be read.
    """
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            needs(row)
        except (ValueError, KeyError, TypeError, RecursionError):
            row = None
        if not isinstance(row, dict):
            n_lost = sum(bool(rest.strip()) for rest in lines[number - 1 :])
            return rows, f"{path.name} is broken at line {number}: read up to there, {plural(n_lost, 'line')} left out"
        rows.append(row)
    return rows, ""


def as_json(value: Any) -> Any:
    """The same value as it would be read back from JSON: paths become strings, tuples lists, NaN None."""
    return json.loads(json.dumps(finite(value), default=str))


def finite(value: Any) -> Any:
    """The same value as JSON can say it: NaN and infinities become None, at any depth."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def short(path: Path) -> Path:
    """A path as a person would type it: relative to the working directory where it lies below it."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path


def read_yaml(path: Path, source: str, wanted: str, error: type[ToolkitError]) -> Any:
    """What a YAML file holds. `source` names it in errors, `wanted` says what it should be.

    Raises:
        error: it cannot be opened, is not UTF-8, or is not YAML, with the line. What it holds is never quoted: it may
            be a key that was put in the wrong place.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{source} cannot be read ({cause.strerror})", wanted) from cause
    except UnicodeDecodeError as cause:
        raise error(f"{source} is not UTF-8 at byte {cause.start}", wanted, "save the file as UTF-8") from cause
    except (yaml.YAMLError, ValueError, RecursionError) as cause:  # PyYAML lets a date such as 2024-99-99 through
        mark = getattr(cause, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise error(f"{source} is not YAML{line}", wanted, "fix the file") from cause
