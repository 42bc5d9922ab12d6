"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Write a mapping as JSON, atomically; paths become strings, NaN becomes null."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, default=str) + "\n"
    replace_file(path, text.encode())
    return path


def finite(value: Any) -> Any:
    """The same value as JSON can say it: NaN and infinities become None, at any depth."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
