"""Run a program in the sandbox: as a script on inputs, or under tests that never share a process with it.

The verdict cannot be forged, because no expected value enters the code's process. A script's outputs are compared by
the caller. Tests in Python run in a second sandbox, which never sees the code: there a function of the code's is a
stand-in that passes its arguments on and gets a plain value back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.sandbox import assertions
from toolkit.sandbox.start import DEFAULT, Level, Limits, Sandbox

STOPPED = {"time": "it took too long", "disk": "it wrote too much"}
_SIGNALS = {-24: "it used up its processor time", -9: "it was killed", -11: "it crashed: segmentation fault"}


@dataclass(frozen=True)
class ScriptRun:
    """A script on one input."""

    stdout: str
    """What it printed, as UTF-8, at most `Limits.output_kib`."""
    why: str
    """Why this is no regular end; empty for a script that ran to its end with exit code 0."""


@dataclass(frozen=True)
class TestRun:
    """One test; `passed` is None where it cannot be judged, whatever the code is."""

    __test__ = False  # not for pytest

    passed: bool | None
    why: str
    """Empty for a test that passed."""


def run_script(program: str, inputs: Sequence[str], level: Level, limits: Limits = DEFAULT) -> list[ScriptRun]:
    """Run a program once for each input, one after the other in one sandbox, each in a process of its own.

    The limit on wall time holds for all of them together; what is left when it is over did not run to its end.

    Raises:
        SandboxError: the sandbox did not start.
    """
    with Sandbox(level, limits, "script", {"program": program, "inputs": list(inputs)}) as sandbox:
        lines = sandbox.report()
    ended = {line["part"]: line for line in lines if "part" in line}
    why = next((STOPPED[line["stopped"]] for line in lines if "stopped" in line), "the sandbox ended early")
    missing = ScriptRun("", why)
    return [_script_run(ended[part]) if part in ended else missing for part in range(len(inputs))]


def _script_run(line: dict[str, Any]) -> ScriptRun:
    if line["cut"]:
        return ScriptRun(line["stdout"], "it printed too much")
    return ScriptRun(line["stdout"], _ended(line))


def _ended(line: dict[str, Any]) -> str:
    code = line["exit_code"]
    if code < 0:
        return _SIGNALS.get(code, f"it was ended by signal {-code}")
    return (line["error"] or f"exit code {code}") if code else ""


def run_tests(program: str, tests: Sequence[str], level: Level, limits: Limits = DEFAULT) -> list[TestRun]:
    """Run a program, then tests against what it defines, in two sandboxes; the limits hold for each.

    Values cross between the two as copies of plain data: None, numbers, text, bytes, lists, tuples, sets, dicts,
    deques, fractions, decimals, dates and times; a subclass as its base. Lists, dicts and sets that a call alters are
    altered in the tests too. Other objects stay where they are, and the tests reach their attributes, methods, items,
    length and text; they are equal to nothing and of no class there, so a test that asks for that fails. A test that
    hands over a function of its own cannot be judged. One passes when it runs to its end and has reached an assertion,
    or handled an exception of the code's.

    Raises:
        SandboxError: a sandbox did not start, or a test cannot be read (`assertions.read`).
    """
    prepared = [dataclasses.asdict(test) | {"mark": assertions.MARK} for test in assertions.read(tuple(tests))]
    with contextlib.ExitStack() as stack:
        with _pipes() as (requests, replies):
            code_ends, judge_ends = (requests[0], replies[1]), (replies[0], requests[1])
            code = stack.enter_context(Sandbox(level, limits, "serve", {"program": program}, code_ends))
            judge = stack.enter_context(Sandbox(level, limits, "judge", {"tests": prepared}, judge_ends))
        lines = judge.report()
        # The code's report is read only once its process has ended: until then it waits for more requests
        has_gone = any(line.get("gone") == "" for line in lines)
        why = _why_missing(code.report() if has_gone else lines)
    verdicts = {line["test"]: TestRun(line["passed"], line["why"]) for line in lines if "test" in line}
    return [verdicts.get(number, TestRun(False, why)) for number in range(len(tests))]


def _why_missing(lines: list[dict[str, Any]]) -> str:
    """Why tests have no verdict: how the process that left them without one ended."""
    for line in lines:
        if why := line.get("not_loaded") or line.get("gone"):
            return why
        if "stopped" in line:
            return STOPPED[line["stopped"]]
        if "part" in line:
            return _ended(line) or "the code ended the process"
    return "the sandbox ended early"


@contextlib.contextmanager
def _pipes() -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Two pipes, open here only until the processes at their ends have them: else no end would be seen to close."""
    pipes = os.pipe(), os.pipe()
    try:
        yield pipes
    finally:
        for descriptor in (*pipes[0], *pipes[1]):
            os.close(descriptor)
