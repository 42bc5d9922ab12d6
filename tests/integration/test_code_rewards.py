"""Rewards for programs: what is taken for the program, what it scores, and what is None."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import sys
import threading
from typing import Any

import pytest

from toolkit.errors import RewardError, SandboxError
from toolkit.rewards import code
from toolkit.rewards.code import CodeTests, code_all_tests, code_syntax, code_tests, extract_code
from toolkit.sandbox import Isolation, find_isolation, levels

needs_sandbox = pytest.mark.skipif(
    sys.platform != "linux" or find_isolation().level in (None, "rlimits"), reason="no isolation here"
)
FENCED = "Here it is:\n```python\n{}\n```\nDone."
RIGHT = "def f(x):\n    return x * 2"
ASSERTS = ["assert f(2) == 4", "assert f(0) == 0", "assert f(-3) == -6", "assert f('a') == 'aa'"]
CASES = [{"input": "2\n", "output": "4\n"}, {"input": "5", "output": "10"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FENCED.format(RIGHT), RIGHT + "\n"),
        ("```python\nfirst\n```\nno:\n```py\nlast\n```", "last\n"),
        ("```python\nx = 1\n```\nwhich prints\n```\n1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```bash\nls\n```\n", ""),
        ("```python\nx = 1\n", ""),  # cut off
        ("```python\nx = 1\n```\n```python\ny = 2\n", "x = 1\n"),
        ("- so:\n  ```python\n  if x:\n      y\n  ```\n", "if x:\n    y\n"),
        ("<reasoning>\n```python\nno\n```\n</reasoning>\n<answer>\nx = 1\n</answer>", "x = 1"),
        ("<answer>\n```python\nx = 1\n```\n</answer>", "x = 1\n"),
        ("x = 1", "x = 1"),
        ("", ""),
    ],
)
def test_the_program_is_found_in_the_completion(text: str, expected: str) -> None:
    assert extract_code(text) == expected


@pytest.mark.parametrize(
    ("text", "score"),
    [(RIGHT, 1.0), (FENCED.format(RIGHT), 1.0), ("def f(:", 0.0), ("The answer is 4.", 0.0), ("", 0.0), ("# x", 0.0)],
)
def test_syntax(text: str, score: float) -> None:
    assert code_syntax([text]) == [score]


@pytest.mark.parametrize("shape", ["(", "-", "x.", "lambda:", "not ", "x;", "{x:", "[", "f(", "\0", "if x:\n "])
def test_text_of_any_shape_is_parsed_or_not(shape: str) -> None:
    score = code_syntax.judge("```python\n" + shape * (60_000 // len(shape)) + "\n```")
    assert score in (0.0, 1.0)


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "tests", "share", "reason"),
    [
        (RIGHT, ASSERTS, 1.0, "4 of 4 tests pass"),
        ("def f(x):\n    return x + 2", ASSERTS, 0.25, "1 of 4 tests pass; test 2: assertion 1 failed"),
        ("def f(x):\n    return 1", ASSERTS, 0.0, "0 of 4 tests pass; test 1: assertion 1 failed"),
        ("def f(x:", ASSERTS, 0.0, "0 of 4 tests pass; test 1: SyntaxError"),
        ("def f(x):\n    while x < 1: pass\n    return x * 2", ASSERTS, 0.25, "1 of 4 tests pass; test 2: it "),
        ("print(int(input()) * 2)", CASES, 1.0, "2 of 2 tests pass"),
        ("print(4)", CASES, 0.5, "1 of 2 tests pass; test 2: printed '4', not '10'"),
        ("print(int(input()) * 2, end='  \\n\\n')", CASES, 1.0, "2 of 2 tests pass"),
        ("print(input())\nprint(4)", CASES, 0.0, "0 of 2 tests pass; test 1: printed '2 4', not '4'"),
        ("x = int(input())\nprint(x * 2 if x == 2 else 1, end='')", CASES, 0.5, "test 2: printed '1', not '10'"),
        ("print(int(input()) * 2)\nprint(0)", CASES, 0.0, "test 1: printed '4 0', not '4'"),
        ("print(int(input()) * 2)\n1 / 0", CASES, 0.0, "test 1: ZeroDivisionError"),
        ("while True: pass", CASES, 0.0, "0 of 2 tests pass; test 1: it "),
        ("", ASSERTS, 0.0, "there is no code"),
        ("x = 1  #" + "x" * 70_000, ASSERTS, 0.0, "the code has 70,009 characters"),
    ],
)
def test_programs_score_by_what_they_pass(program: str, tests: Any, share: float, reason: str) -> None:
    reward = CodeTests(cpu_s=1)
    found = reward.explain(FENCED.format(program), tests=tests)
    assert found.score == share
    assert reason in found.reason
    assert code.CodeAllTests(cpu_s=1).judge(FENCED.format(program), tests=json.dumps(tests)) == float(share == 1)


@needs_sandbox
@pytest.mark.parametrize(
    ("output", "score"),
    [("4", 1.0), ("4\n", 1.0), ("4 \n\n", 1.0), ("", 0.0), ("4\n0", 0.0), ("\n4", 0.0), (" 4", 0.0), ("4 4", 0.0)],
)
def test_output_is_equal_but_for_white_space_at_ends(output: str, score: float) -> None:
    assert code_tests.judge("print(4)", tests=[{"input": "", "output": output}]) == score


@needs_sandbox
@pytest.mark.parametrize(
    "tests",
    [None, "", "assert f(2) == 4", "[]", [], [1], ["f(2)"], ["assert f("], [{"input": "1"}],
     {"input": "", "output": ""}, ["assert f(2) == 4", {"input": "", "output": ""}],
     "[" * 100_000, ["assert f(lambda: 1) == 2"]],
)  # fmt: skip
def test_tests_that_cannot_be_read_give_none(tests: Any) -> None:
    found = code_tests.explain(RIGHT, tests=tests)
    assert found.score is None
    assert "test" in found.reason


def test_a_missing_column_is_an_error() -> None:
    with pytest.raises(RewardError, match="'tests'"):
        code_tests([RIGHT], test=[ASSERTS])


def test_a_missing_sandbox_is_an_error_and_not_none(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = Isolation("rlimits", (("bubblewrap", "bwrap is not installed"),))
    monkeypatch.setattr(levels, "find_isolation", lambda: weak)
    with pytest.raises(SandboxError, match="--allow_unsafe_code"):
        code_tests([RIGHT], tests=[ASSERTS])


@needs_sandbox
def test_a_host_without_resources_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    find_isolation()
    monkeypatch.setattr("toolkit.sandbox.start.subprocess.Popen", refuse)
    found = code_tests.explain(RIGHT, tests=ASSERTS)
    assert found.score is None
    assert "did not start" in found.reason


@needs_sandbox
def test_a_batch_is_judged_in_order_and_leaves_no_thread() -> None:
    before = threading.active_count()
    programs = [f"def f(x):\n    return {n}" for n in range(12)]
    tests = [[f"assert f(2) == {n if n % 3 else -1}"] for n in range(12)]
    conversations = [[{"role": "assistant", "content": program}] for program in programs]
    scores = [float(n % 3 > 0) for n in range(12)]
    assert code_tests(programs, tests=tests) == scores
    assert code_all_tests(conversations, tests=[json.dumps(row) for row in tests], prompts=programs) == scores
    assert threading.active_count() == before


@needs_sandbox
def test_it_works_in_a_worker_thread_and_in_a_spawned_process() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(code_tests([RIGHT], tests=[ASSERTS])))
    thread.start()
    thread.join()
    assert found == [1.0]
    assert pickle.loads(pickle.dumps(code_all_tests)) == code_all_tests  # noqa: S301
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(code_tests, ([RIGHT],), {"tests": [ASSERTS]}) == [1.0]
