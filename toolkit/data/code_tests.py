"""The tests of a programming task, as `rewards.code` takes them, in the spellings that datasets have.

- asserts: a list (MBPP's `test_list`, with its `test_setup_code`), or HumanEval's `test` with `entry_point`
- cases of standard input and output: `[{"input":, "output":}]`, or APPS's and TACO's
  `{"inputs": [...], "outputs": [...]}`, each also as JSON text
"""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from toolkit.data.columns import named
from toolkit.data.faults import Unusable
from toolkit.data.rows import shown
from toolkit.data.schema import Row
from toolkit.errors import DataError

TESTS = ("tests", "test_list", "test_cases", "input_output", "public_tests")
_WANTED = '`["assert f(2) == 4"]` or `[{"input": "2", "output": "4"}]`'
_CALLED = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*\(")


def find(columns: Sequence[str], head: Sequence[Row]) -> tuple[str, Callable[[Row], list[Any]]] | None:
    """The column of the tests, and what reads them of a row; that raises Unusable."""
    if found := named(TESTS, columns, head):
        column = found[0]
        return column, lambda row: _with_setup(checked(row.get(column)), row)
    if {"test", "entry_point"} <= set(columns):
        return "test", lambda row: checked([f"{row.get('test')}\ncheck({row.get('entry_point')})"])
    return None


def checked(value: Any) -> list[Any]:
    """The tests in one of the two forms of `rewards.code.read_tests`; Unusable where there are none that can be run."""
    from toolkit.rewards.code import read_tests

    tests = _form(value)
    try:
        read_tests(tests)
    except DataError as error:
        raise Unusable("no tests that can be run", error.found, error.wanted) from error
    return tests


def _form(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = [value]  # asserts as one text
    if isinstance(value, dict):
        if value.get("fn_name"):
            found = f"tests that call {shown(str(value['fn_name']))} with arguments"
            raise Unusable("tests that call a function", found, _WANTED, "write them as asserts, or remove the row")
        inputs, outputs = value.get("inputs", value.get("input")), value.get("outputs", value.get("output"))
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise Unusable("no tests that can be run", f"tests of {shown(', '.join(map(str, value)))}", _WANTED)
        value = [{"input": given, "output": wanted} for given, wanted in zip(inputs, outputs, strict=True)]
    if not isinstance(value, list):
        raise Unusable("no tests", f"no tests, but {shown(repr(value))}", _WANTED)
    return [_case(test) if isinstance(test, dict) and {"input", "output"} <= set(test) else test for test in value]


def _case(test: Row) -> dict[str, str]:
    return {name: _as_text(test[name]) for name in ("input", "output")}


def _as_text(value: Any) -> str:
    """Lines in a list, as TACO has them, are joined."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _with_setup(tests: list[Any], row: Row) -> list[Any]:
    setup = row.get("test_setup_code") or row.get("test_imports") or ""
    setup = "\n".join(setup) if isinstance(setup, list) else str(setup)
    return [f"{setup}\n{test}" if isinstance(test, str) else test for test in tests] if setup.strip() else tests


def with_example(question: str, tests: Sequence[Any]) -> str:
    """The question with the first assert below it where it does not name the function, which nobody could guess."""
    first = tests[0]
    if not isinstance(first, str) or "def " in first:
        return question
    called = [name for name in _CALLED.findall(first) if not hasattr(builtins, name)]
    if not called or any(re.search(rf"\b{re.escape(name)}\b", question) for name in called):
        return question
    return f"{question}\n\nYour program is tested like this:\n{first.strip()}"
