"""How the process of the code and the process of the tests speak: one JSON object a line, plain values only.

A value that crosses is copied and has the exact built-in type when it arrives: a subclass arrives as its base (a named
tuple as a tuple, a Counter as a dict), any other object as a reference to it. So nothing of the code's own, no `__eq__`
above all, ever runs where the tests run.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
from collections import deque
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes as long as half a start of the interpreter
    from typing import Any

MAX_MESSAGE = 8 * 2**20  # bytes: a longer message ends the conversation


class CannotCrossError(BaseException):  # a test's own `except Exception` must not take it for the code's
    """A value that the tests hand over is neither plain nor the code's own."""


class GoneError(BaseException):  # nor this
    """The other side has ended; or, with a reason, it does not speak this language."""


def _exact(value: Any, base: type) -> Any:
    """A number or text of the exact type, by the base's own method, which a subclass cannot replace."""
    return str.__getitem__(value, slice(None)) if base is str else base.__pos__(value)


_SEQUENCES: tuple[Any, ...] = (list, tuple, set, frozenset, deque)
_BY_TEXT: dict[tuple[str, str], tuple[Callable[[Any], str], str]] = {
    ("fractions", "Fraction"): (str, "__new__"),
    ("decimal", "Decimal"): (str, "__new__"),
    ("datetime", "date"): (lambda value: value.isoformat(), "fromisoformat"),
    ("datetime", "datetime"): (lambda value: value.isoformat(), "fromisoformat"),
    ("datetime", "time"): (lambda value: value.isoformat(), "fromisoformat"),
}
"""Values of the standard library that cross as text: module and class to how it is written and read."""


def encode(value: Any, other: Callable[[Any], Any]) -> Any:
    """As JSON; `other` gets what is not plain and says how to tell it. RecursionError for a list that holds itself."""
    if value is None or value is True or value is False:
        return value
    for base in (int, float, str):
        if isinstance(value, base):
            exact = _exact(value, base)
            return ["int", hex(exact)] if base is int and abs(exact) >= 2**63 else exact
    if isinstance(value, complex):
        exact = _exact(value, complex)
        return ["complex", exact.real, exact.imag]
    if isinstance(value, bytes):
        return ["bytes", bytes.hex(value)]
    for base in _SEQUENCES:
        if isinstance(value, base):
            return [base.__name__, [encode(item, other) for item in base.__iter__(value)]]
    if isinstance(value, dict):
        return ["dict", [[encode(key, other), encode(item, other)] for key, item in dict.items(value)]]
    key = (type(value).__module__, type(value).__name__)
    if key in _BY_TEXT and type(value) is getattr(sys.modules.get(key[0]), key[1], None):
        return ["text", *key, _BY_TEXT[key][0](value)]
    return other(value)


def decode(told: Any, other: Callable[[list[Any]], Any]) -> Any:
    """What `encode` told; `other` gets what is not plain. Raises any exception for what `encode` did not write."""
    if not isinstance(told, list):
        return told
    kind = told[0]
    if kind == "int":
        return int(told[1], 16)
    if kind == "complex":
        return complex(told[1], told[2])
    if kind == "bytes":
        return bytes.fromhex(told[1])
    if kind == "dict":
        return {decode(key, other): decode(item, other) for key, item in told[1]}
    for base in _SEQUENCES:
        if kind == base.__name__:
            return base(decode(item, other) for item in told[1])
    if kind == "text":
        how = _BY_TEXT[told[1], told[2]][1]
        made = getattr(__import__(told[1]), told[2])
        return made(told[3]) if how == "__new__" else getattr(made, how)(told[3])
    return other(told)


def tell_exception(error: BaseException) -> list[Any]:
    """Its built-in classes, nearest first, and what it says."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    try:
        said = str(error)[:300]
    except BaseException:
        said = ""
    return ["raised", names, said, type(error).__name__]


def exception_from(told: list[Any]) -> Exception:
    """The nearest built-in exception; what would end an interpreter (SystemExit) arrives as RuntimeError."""
    for name in told[1]:
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(str(told[2]))
            except TypeError:  # UnicodeDecodeError and its like want five arguments
                continue
    return RuntimeError(f"{told[3]}: {told[2]}")


class Line:
    """One end of the conversation: two pipes."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = os.fdopen(reads, "rb"), writes

    def send(self, message: Any) -> None:
        """Raises GoneError."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._writes, data) :]
        except OSError as error:
            raise GoneError from error

    def receive(self) -> Any:
        """Raises GoneError."""
        line = self._reads.readline(MAX_MESSAGE)
        if not line.endswith(b"\n"):
            raise GoneError("what it said is too long" if line else "")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise GoneError("what it said cannot be read") from error
