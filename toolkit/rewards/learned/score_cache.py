"""What was judged once is not judged again: a bounded memory of scores by a digest of the text, or a file."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from toolkit.errors import RewardError
from toolkit.files import replace_file

V = TypeVar("V")


def digest(*texts: str | None) -> str:
    """A key of 32 hexadecimal digits for some texts in this order; lone surrogates are allowed."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]


class ScoreCache(Generic[V]):
    """The `size` entries that were used last. Safe to use from several threads."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, threading.Lock()
        self._entries: OrderedDict[str, V] = OrderedDict()

    def get_all(self, keys: Sequence[str], compute: Callable[[list[int]], Mapping[int, V]]) -> list[V | None]:
        """The value of each key. `compute` gets the places of those not known, each key once, and gives their values.

        A place that it leaves out has no value: the result is None for its key, and nothing is kept.
        """
        with self._lock:
            known = {key: self._entries[key] for key in keys if key in self._entries}
            for key in known:
                self._entries.move_to_end(key)
        missing = {key: i for i, key in reversed(list(enumerate(keys))) if key not in known}
        if missing:
            found = compute(sorted(missing.values()))
            new = {keys[i]: value for i, value in found.items()}
            known |= new
            self._keep(new)
        return [known.get(key) for key in keys]

    def _keep(self, new: Mapping[str, V]) -> None:
        with self._lock:
            self._entries.update(new)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)


class FileCache(ScoreCache[float]):
    """Scores from 0 to 1, with a file that outlives the process: a `{"key": ..., "score": ...}` a line, and no text.

    Lines are only added, by several processes if need be. A file that holds more than twice `size` of them when it is
    opened keeps the last `size`. A line that cannot be read (a process was killed while it wrote) is skipped.

    Raises:
        RewardError: the file cannot be read or written.
    """

    def __init__(self, size: int, path: Path) -> None:
        super().__init__(size)
        self._path = path.expanduser()
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
            if len(lines) > 2 * size:
                lines = lines[len(lines) - size :]
                replace_file(self._path, "".join(f"{line}\n" for line in lines).encode())
            self._path.open("a", encoding="utf-8").close()
        except (OSError, UnicodeDecodeError) as error:
            detail = getattr(error, "strerror", None) or "no UTF-8 text"
            raise RewardError(f"cache_file {path}: {detail}", "a file that can be read and written") from error
        super()._keep(dict(entry for line in lines if (entry := _entry(line))))

    def _keep(self, new: Mapping[str, float]) -> None:
        super()._keep(new)
        if new:
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps({"key": key, "score": score}) + "\n" for key, score in new.items()))


def _entry(line: str) -> tuple[str, float] | None:
    try:
        row: Any = json.loads(line)
        key, score = row["key"], row["score"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_score = type(score) in (int, float) and 0 <= score <= 1
    return (key, float(score)) if isinstance(key, str) and is_score else None
