"""One key of a person's keyboard, or one line of a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from toolkit.display.terminal import descriptor

LEFT, RIGHT, END = "left", "right", "end"
_NAMED = {b"\x1b[D": LEFT, b"\x1bOD": LEFT, b"\x1b[C": RIGHT, b"\x1bOC": RIGHT, b"\x04": END, b"": END}
_NAMED[b"\x00"] = END  # a Ctrl-D that was typed before keys are handed over one by one
_MOST_BYTES = 16  # the sequence of one key; what is typed ahead of it comes one byte at a time


def is_keyboard(stream: TextIO) -> bool:
    """Whether single keys can be read from it."""
    fd = descriptor(stream)
    return os.name == "posix" and fd is not None and os.isatty(fd)


def read_key(given: TextIO | None = None) -> str:
    """The next key: a lower-case character, `left`, `right`, or `end` for Ctrl-D.

    From what is no terminal it is the first character of the next line that is not blank, and `end` behind the last.
    Ctrl-C is a KeyboardInterrupt.
    """
    stream = given or sys.stdin
    if not is_keyboard(stream):
        return next((line.strip()[0].lower() for line in stream if line.strip()), END)
    fd = stream.fileno()
    with _each_key(fd):
        pressed = os.read(fd, 1)
        if pressed == b"\x1b":
            pressed += _rest_of_sequence(fd)
    if pressed in _NAMED:
        return _NAMED[pressed]
    return pressed.decode("utf-8", "replace").lower()


@contextmanager
def _each_key(fd: int) -> Iterator[None]:
    """The terminal hands over each key at once and does not show it; Ctrl-C stays a signal."""
    import termios
    import tty

    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSADRAIN)  # keys typed while the last choice was saved are not lost
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _rest_of_sequence(fd: int) -> bytes:
    """What follows an escape at once: the rest of an arrow key, or nothing for the escape key."""
    import select

    rest = b""
    while len(rest) < _MOST_BYTES and select.select([fd], [], [], 0.05)[0]:
        byte = os.read(fd, 1)
        rest += byte
        if len(rest) > 1 and (byte.isalpha() or byte == b"~"):
            break
    return rest
