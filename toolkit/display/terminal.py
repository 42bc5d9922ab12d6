"""Everything that other programs write to the terminal, sent to a file instead while a live view is drawn.

Python prints, logging handlers made earlier, C++ libraries and child processes share descriptors 1 and 2 and nothing
else, so that is where they are caught. The catch is a file that the view reads behind the writers, not a pipe: a
pipe that nobody reads in time stops its writer (for good, when that is C code that holds the GIL), takes the last
words of a crash with it, and breaks children that outlive the view.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

CHUNK_BYTES = 1 << 20
MAX_UNFINISHED_BYTES = 1 << 16  # of a line without its end: hours of one progress bar

# CSI and OSC sequences, two-character escapes, control characters but tab and carriage return
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


def visible(line: str) -> str:
    """Return what is left to see of one line: no control sequences, and of a progress bar only its last state."""
    states = [state.rstrip() for state in _CONTROL.sub("", line).split("\r")]
    return next((state for state in reversed(states) if state), "")


# What moves a cursor, turns the direction of text, or is no character at all; line breaks and tabs may stay
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def escaped(text: str) -> str:
    """Somebody else's text, safe to show: what a terminal would obey, or not show, as `\\x1b` and `\\u202e`."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def descriptor(stream: Any) -> int | None:
    """Return the descriptor behind a stream, or None when it is held in memory or closed."""
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


class Capture:
    """Sends those of descriptors 1 and 2 that are terminals to the end of a file, until `restore`.

    `screen` still writes to the terminal that was behind `terminal_fd`. A descriptor that the user has redirected is
    left alone. Children inherit the file and may go on writing to it after `restore`. POSIX only.
    """

    def __init__(self, terminal_fd: int, log_path: Path | None) -> None:
        _flush()
        self._log = _open_log(log_path)
        self._offset = os.fstat(self._log).st_size  # a resumed run's file begins with what was shown before
        self._unfinished = b""
        self.screen: TextIO = os.fdopen(os.dup(terminal_fd), "w", encoding="utf-8", errors="replace")
        self._saved = {fd: os.dup(fd) for fd in (1, 2) if os.isatty(fd)}
        for fd in self._saved:
            os.dup2(self._log, fd)

    @property
    def unfinished(self) -> str:
        """The line being written, such as a progress bar; empty between lines."""
        return visible(self._unfinished.decode("utf-8", "replace"))

    def read_lines(self) -> list[str]:
        """Return the visible lines that were finished since the last call, without the blank ones."""
        lines: list[str] = []
        end = os.fstat(self._log).st_size  # fixed here, or a writer faster than this loop would hold it for ever
        while self._offset < end:
            data = os.pread(self._log, min(CHUNK_BYTES, end - self._offset), self._offset)
            self._offset += len(data)
            *whole, rest = (self._unfinished + data).split(b"\n")
            lines += [visible(line.decode("utf-8", "replace")) for line in whole]
            self._unfinished = rest[-MAX_UNFINISHED_BYTES:]
        return [line for line in lines if line]

    def restore(self) -> None:
        """Give the descriptors back and end an unfinished line; all of it stays readable. Twice does no harm."""
        _flush()
        while self._saved:
            fd, saved = self._saved.popitem()
            os.dup2(saved, fd)
            os.close(saved)
        size = os.fstat(self._log).st_size
        if size and os.pread(self._log, 1, size - 1) != b"\n":
            os.write(self._log, b"\n")

    def close(self) -> None:
        """Restore, and let go of file and screen."""
        self.restore()
        os.close(self._log)
        with contextlib.suppress(OSError):  # the terminal may be gone
            self.screen.close()


def _open_log(path: Path | None) -> int:
    # O_APPEND: children that open their own writers to it must not overwrite one another
    if path is not None:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    with tempfile.TemporaryFile() as unnamed:
        return os.dup(unnamed.fileno())


def _flush() -> None:
    """Write out what Python and C have buffered for descriptors 1 and 2, so that it goes where it was meant to go."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # None, gone, or closed
            stream.flush()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no C library to ask by this name
        ctypes.CDLL(None).fflush(None)
