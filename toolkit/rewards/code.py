"""Does the program in the completion do what its tests ask? It runs in the sandbox only (`toolkit.sandbox`).

A row's `tests` are a list, or the same as JSON text, of one kind:

- Python: `["assert f(2) == 4", "assert f(0) == 0"]`. Each element is one test, and may hold several statements
  (HumanEval: its `test` column followed by `check(NAME)`).
- cases: `[{"input": "2\\n", "output": "4\\n"}]`. The program reads standard input and prints; it must end regularly.
  The output must be equal, save for white space at the ends of lines and for empty lines at its end.
"""

from __future__ import annotations

import ast
import json
import os
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from toolkit.errors import DataError, SandboxError
from toolkit.rewards.answers import find_answer
from toolkit.rewards.base import Explanation, RewardFunction
from toolkit.rewards.completions import Completion, one_line, text_of
from toolkit.sandbox import Level, Limits, ScriptRun, TestRun, assertions, choose_level, run_script, run_tests

MAX_CODE_CHARS = 65_536
"""A longer program is not run, and scores 0."""
Runner = Callable[..., list[TestRun]]
"""Runs a program under the tests of one row: its text, then `level` and `limits` by name."""
_FENCE = "```"
_WANTED = '`["assert f(2) == 4"]` or `[{"input": "2", "output": "4"}]`'
_PYTHON = ("python", "py", "python3")


def extract_code(text: str) -> str:
    """The program in a completion.

    Looked for in the last complete `<answer>` block, or in the whole text where there is none. It is the last complete
    block fenced as ```` ```python ````, else the last complete fenced block without a language, else all of it.
    """
    block = find_answer(text, ("answer_tag",))
    scope = text if block is None else block
    fenced = {"python": "", "": ""}
    language: str | None = None
    lines: list[str] = []
    for line in scope.splitlines(keepends=True):
        if not line.lstrip(" ").startswith(_FENCE):
            lines.append(line)
        elif language is None:
            language, lines = line.strip(" \r\n`").lower(), []
        elif line.strip() == _FENCE:
            fenced["python" if language in _PYTHON else language] = textwrap.dedent("".join(lines))
            language = None
    return fenced["python"] or fenced[""] or ("" if _FENCE in scope else scope.strip("\n"))


def parses(code: str) -> bool:
    """Whether a text is a Python program, by its grammar; it is not run, and an empty one is none."""
    if not code.strip() or len(code) > MAX_CODE_CHARS:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(tree.body)


@dataclass(frozen=True)
class CodeSyntax(RewardFunction):
    """1.0 when the code parses, else 0.0; runs nothing, so it needs no sandbox. Range: {0, 1}."""

    name = "code_syntax"
    purpose = "A first slope towards code: the program parses."
    weakness = "A single word parses; never use it without tests."

    def judge(self, text: str, **_: Any) -> float | None:
        return float(parses(extract_code(text)))

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return "it parses" if score else "there is no code that parses"


@dataclass(frozen=True)
class CodeTests(RewardFunction):
    """The fraction of its tests that the code passes. Range: [0, 1].

    A program that cannot be loaded, a test that ends it, and all tests after one that ran into the limits count as
    failed. None for tests that cannot be read, and for a sandbox that did not start (no memory left on the host).

    Raises:
        SandboxError: this machine has no isolation that is strong enough (`toolkit.sandbox.choose_level`); a None for
            every row would train on nothing.
    """

    name = "code_tests"
    columns = ("tests",)
    purpose = "Reward partly right programs by the share of unit tests or input/output cases that pass."
    weakness = "Writing out the answers of tests that the prompt shows; keep some tests out of the prompt."

    cpu_s: int = 4
    """Seconds of processor time for the program, anew for each case; all its tests have twice that on the clock."""
    memory_mib: int = 512
    """Memory of the program, and of each process that it starts."""
    n_workers: int = 0
    """Completions judged at once; 0: one for each processor."""
    allow_unsafe_code: bool = False
    """Run also where the program could read this machine's files."""

    def judge(self, text: str, *, tests: Any = None, **_: Any) -> float | None:
        return self._explained(text, _prepared(tests)).score

    def explain(self, completion: Completion, **row: Any) -> Explanation:
        """The program runs once."""
        found = self._explained(text_of(completion), _prepared(self._checked(row)["tests"]))
        return Explanation(found.score, one_line(found.reason))

    def scores(
        self, completions: Sequence[Completion], lists: Mapping[str, Sequence[Any]], extra: Mapping[str, Any]
    ) -> list[float | None]:
        """In parallel: what is waited for is other processes, so threads do. None is left when this returns."""
        choose_level(self.allow_unsafe_code)  # once and here, so that the error comes before the work
        prepared = [_prepared(tests) for tests in lists["tests"]]  # here: to parse in threads would race on warnings
        with ThreadPoolExecutor(self.n_workers or len(os.sched_getaffinity(0)), "sandbox") as pool:
            return [found.score for found in pool.map(self._explained, map(text_of, completions), prepared)]

    def _combined(self, passed: int, n_tests: int) -> float:
        return passed / n_tests

    def _explained(self, text: str, run: Runner | Explanation) -> Explanation:
        level = choose_level(self.allow_unsafe_code)
        if isinstance(run, Explanation):
            return run
        code = extract_code(text)
        if not code.strip():
            return Explanation(0.0, "there is no code")
        if len(code) > MAX_CODE_CHARS:
            return Explanation(0.0, f"the code has {len(code):,} characters, over {MAX_CODE_CHARS:,}")
        try:
            limits = Limits(cpu_s=self.cpu_s, wall_s=2.0 * self.cpu_s, memory_mib=self.memory_mib)
            runs = run(code, level=level, limits=limits)
        except SandboxError as error:
            return Explanation(None, str(error))
        if unjudged := next((run.why for run in runs if run.passed is None), ""):
            return Explanation(None, unjudged)
        passed = sum(run.passed is True for run in runs)
        first = next((f"; test {i}: {run.why}" for i, run in enumerate(runs, 1) if not run.passed), "")
        return Explanation(self._combined(passed, len(runs)), f"{passed} of {len(runs)} tests pass{first}")


@dataclass(frozen=True)
class CodeAllTests(CodeTests):
    """1.0 when the code passes every test, else 0.0; None as in `CodeTests`. Range: {0, 1}."""

    name = "code_all_tests"
    purpose = "Reward only programs that pass all of their unit tests or input/output cases."

    def _combined(self, passed: int, n_tests: int) -> float:
        return float(passed == n_tests)


def _prepared(tests: Any) -> Runner | Explanation:
    """What runs a program under these tests, or why there is no judging with them."""
    try:
        return read_tests(tests)
    except DataError as error:
        return Explanation(None, str(error))


def read_tests(tests: Any) -> Runner:
    """What runs a program under a row's `tests`; a DataError where they are in neither form, or one is no test."""
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except (ValueError, RecursionError) as error:
            raise DataError(f"`tests` is text and no JSON: {one_line(tests, 60)!r}", _WANTED) from error
    tests = list(tests) if isinstance(tests, (list, tuple)) else []
    if tests and all(isinstance(test, str) for test in tests):
        assertions.read(tuple(tests))
        return partial(run_tests, tests=tests)
    if not tests or not all(map(_is_case, tests)):
        raise DataError(f"`tests` is {one_line(str(tests), 60)}", _WANTED)
    return partial(_run_cases, [(test["input"], test["output"]) for test in tests])


def _is_case(test: Any) -> bool:
    return isinstance(test, Mapping) and all(isinstance(test.get(key), str) for key in ("input", "output"))


def _run_cases(cases: list[tuple[str, str]], code: str, level: Level, limits: Limits) -> list[TestRun]:
    runs = run_script(code, [given for given, _ in cases], level, limits)
    return [_compared(run, wanted) for run, (_, wanted) in zip(runs, cases, strict=True)]


def _compared(run: ScriptRun, wanted: str) -> TestRun:
    if run.why or _lines(run.stdout) == _lines(wanted):
        return TestRun(not run.why, run.why)
    return TestRun(False, f"printed {one_line(run.stdout, 40)!r}, not {one_line(wanted, 40)!r}")


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


code_syntax, code_tests, code_all_tests = CodeSyntax(), CodeTests(), CodeAllTests()
