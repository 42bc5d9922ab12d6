"""The tests' side: runs each test with stand-ins for the code's names, and reports what came of it.

A stand-in passes a call on to the other process and gets a plain value back. What it does not pass on, so that no
expected value is ever handed to the code: comparison, arithmetic, `in`. An object of the code's own is therefore equal
to nothing but itself.
"""

from __future__ import annotations

import builtins
import os
from importlib import import_module

import script
import supervise
import wire

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes as long as half a start of the interpreter
    from typing import Any

FILE = "tests.py"


class Code(wire.Line):
    """The line to the code's process."""

    n_raised = 0
    """Calls that the code answered with an exception."""

    def ask(self, operation: str, target: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Have the code's process do one of `serve.OPERATIONS`, and return or raise what came of it."""
        given = list(arguments)
        self.send([operation, target, wire.encode(given, _tell), wire.encode(named, _tell)])
        reply = self.receive()
        if reply[0] == "raised":
            self.n_raised += operation == "call"
            raise wire.exception_from(reply)
        for place, now in reply[2]:
            _replace(given[place], wire.decode(now, self._own))
        return wire.decode(reply[1], self._own)

    def _own(self, told: list[Any]) -> Remote:
        return Remote(self, told[1])


class Remote:
    """Something in the code's process: a function, a class, or an object of a class of its own."""

    def __init__(self, code: Code, number: int) -> None:
        self.__dict__.update(_code=code, _number=number)

    def _ask(self, operation: str, *arguments: Any, **named: Any) -> Any:
        return self._code.ask(operation, _tell(self), arguments, named)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("call", *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return self._ask("getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("setattr", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("setitem", key, value)

    def __len__(self) -> int:
        return _of(int, self._ask("len"))

    def __bool__(self) -> bool:
        return _of(bool, self._ask("bool"))

    def __str__(self) -> str:
        return _of(str, self._ask("str"))

    def __repr__(self) -> str:
        return _of(str, self._ask("repr"))

    def __iter__(self) -> Any:
        iterator = self._ask("iter")
        while True:
            try:
                item = _next(self._code, iterator)
            except StopIteration:
                return
            yield item


def _next(code: Code, iterator: Any) -> Any:
    return code.ask("next", _tell(iterator), (), {})


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"the code gave a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _tell(value: Any) -> list[Any]:
    """How a value that is not plain is told to the code; CannotCrossError if it is neither the code's nor built in."""
    if isinstance(value, Remote):
        return ["object", value._number]
    name = getattr(value, "__name__", "")
    if name and getattr(builtins, name, None) is value:
        return ["builtin", name]
    raise wire.CannotCrossError(f"the tests hand the code a {type(value).__name__}, which cannot cross to its process")


def _replace(held: Any, now: Any) -> None:
    """Give a list, dict or set that the tests hold the content that the code left in it."""
    if type(held) is not type(now) or not isinstance(held, (list, dict, set)):
        raise TypeError("the code gave back another type than it got")
    held.clear()
    (held.extend if isinstance(held, list) else held.update)(now)


def run(job: dict[str, Any], _: int) -> None:
    """One line `{"test", "passed", "why"}` for each test, or `{"not_loaded": why}`; None is "cannot be judged"."""
    reads, writes, report = job["descriptors"]
    script.prepare_interpreter()
    code = Code(reads, writes)
    try:
        loaded = code.receive()
        if loaded[0] == "raised":
            supervise.write_line(report, {"not_loaded": f"{loaded[3]}: {loaded[2]}"})
        else:
            for number, test in enumerate(job["tests"]):
                supervise.write_line(report, {"test": number, **_verdict(test, code)})
    except wire.GoneError as error:
        supervise.write_line(report, {"gone": str(error)})
    os._exit(0)


def _verdict(test: dict[str, Any], code: Code) -> dict[str, Any]:
    n_reached, n_raised = 0, code.n_raised

    def reach() -> None:
        nonlocal n_reached
        n_reached += 1

    space: dict[str, Any] = {"__name__": "tests", test["mark"]: reach}
    try:
        for name in test["modules"]:
            space[name] = import_module(name)
        for name in test["names"]:
            space[name] = code.ask("name", name, (), {})
        exec(compile(test["source"], FILE, "exec"), space)  # noqa: S102
    except wire.GoneError:
        raise
    except wire.CannotCrossError as error:
        return {"passed": None, "why": str(error)}
    except AssertionError as error:
        return {"passed": False, "why": f"assertion {n_reached} failed" + (f": {error}" if str(error) else "")}
    except BaseException as error:
        return {"passed": False, "why": f"{type(error).__name__}: {str(error)[:200]}"}
    if n_reached or code.n_raised > n_raised:  # a test may ask for an exception, and assert only that it came
        return {"passed": True, "why": ""}
    return {"passed": False, "why": "no assertion was reached"}
