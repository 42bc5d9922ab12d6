"""The sandbox does what it says, at every level that works here: limits hold, values cross, nothing is left over."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.paths import ROOT
from toolkit.errors import DataError, SandboxError
from toolkit.sandbox import Isolation, Level, Limits, choose_level, levels, run_script, run_tests, start
from toolkit.sandbox.inside import filters, wire
from toolkit.sandbox.start import LEVELS, WITH_NAMESPACES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux only")


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Level:
    if why := levels.why_not(request.param):
        pytest.skip(f"{request.param}: {why}")
    return request.param


@pytest.fixture
def best() -> Level:
    return choose_level(allow_unsafe_code=True)


# --- levels ---


def test_some_level_works_here() -> None:
    assert levels.find_isolation().level is not None
    assert [level for level in LEVELS if "lets the code" in levels.why_not(level)] == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_refused_in_one_line(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels.sys, "platform", platform)
    for cached in (levels.why_not, levels.find_isolation):
        cached.cache_clear()
        monkeypatch.setattr(levels, cached.__name__, cached.__wrapped__)
    with pytest.raises(SandboxError, match=r"cannot be run here .*wanted Linux, or WSL") as caught:
        choose_level(allow_unsafe_code=True)
    assert "\n" not in str(caught.value)


def test_the_weakest_level_needs_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = Isolation("rlimits", (("bubblewrap", "bwrap is not installed"), ("landlock", "the kernel has none")))
    monkeypatch.setattr(levels, "find_isolation", lambda: weak)
    with pytest.raises(SandboxError, match=r"bwrap is not installed.*--allow_unsafe_code"):
        choose_level()
    assert choose_level(allow_unsafe_code=True) == "rlimits"


def test_a_level_that_does_not_hold_its_promise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the weakest level cannot keep away, the files, is promised in its name: the probe must see it."""
    monkeypatch.setitem(levels._PROMISED, "rlimits", {"files"})
    assert levels.why_not.__wrapped__("rlimits") == "it lets the code reach the host's files"


def test_the_numbers_of_system_calls_are_those_of_the_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no kernel headers here")
    numbers = dict(line.split()[1:3] for line in header.read_text().splitlines() if line.startswith("#define __NR_"))
    for name, (number, _) in (filters.KERNEL | filters.SHARED).items():
        assert str(number) == numbers[f"__NR_{name}"], name


# --- limits ---


def run(program: str, level: Level, stdin: str = "", **limits: Any) -> tuple[str, str]:
    found = run_script(textwrap.dedent(program), [stdin], level, Limits(**limits))[0]
    return found.stdout, found.why


def test_a_script_reads_its_input_and_prints(level: Level) -> None:
    assert run("print(input() + 'é'); raise SystemExit(0)", level, "käse\n") == ("käseé\n", "")
    assert run("import sys; sys.stdout.write('no newline')", level) == ("no newline", "")
    assert run("print('before'); print(1 / 0)", level) == ("before\n", "ZeroDivisionError: division by zero")
    assert run("exit(3)", level) == ("", "exit code 3")


def test_output_is_cut(level: Level) -> None:
    stdout, why = run("print('x' * 100_000)", level, output_kib=10)
    assert (len(stdout), why) == (10 * 1024, "it printed too much")
    assert run("print('x' * 5_000_000)", level, file_mib=1)[1] == "it printed too much"


def test_processes_are_counted(level: Level) -> None:
    program = """
        import os, time
        n = 1
        try:
            while os.fork():
                n += 1
            time.sleep(60)
        except OSError:
            print(n)
    """
    n_allowed = 5 if level in WITH_NAMESPACES else 1
    assert run(program, level, processes=5) == (f"{n_allowed}\n", "")


def test_memory_is_limited(level: Level) -> None:
    program = """
        held = []
        try:
            while True:
                held.append(bytearray(2**20))
        except MemoryError:
            n = len(held)
            del held
            print(n)
    """
    held_mib = int(run(program, level, memory_mib=128)[0])
    assert 64 < held_mib < 128


def test_processor_time_is_limited_whatever_is_ignored(level: Level) -> None:
    started = time.monotonic()
    assert run("while True: pass", level, cpu_s=1, wall_s=60)[1] == "it used up its processor time"
    deaf = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert run(deaf, level, cpu_s=1, wall_s=60)[1] == "it was killed"
    assert time.monotonic() - started < 50


def test_time_on_the_clock_is_limited_and_what_ended_before_counts(level: Level) -> None:
    runs = run_script("import time; time.sleep(float(input())); print(1)", ["0", "60", "0"], level, Limits(wall_s=1.5))
    assert [(run.stdout, run.why) for run in runs] == [("1\n", ""), *[("", "it took too long")] * 2]


def test_files_are_limited(level: Level) -> None:
    too_many = "import os\nfor n in range(100): os.open('file', os.O_CREAT)"
    assert "Too many open files" in run(too_many, level, open_files=20)[1]
    assert "File too large" in run("open('file', 'wb').write(b'x' * 3_000_000)", level, file_mib=2)[1]
    fill = """
        import os, time
        os.mkdir("hidden", 0o300)  # to be written to, and not to be listed
        os.chdir("hidden")
        for n in range(40):
            with open(str(n), "wb") as file:
                file.write(b"x" * 2**20)
            time.sleep(0.02)
    """
    assert run(fill, level, disk_mib=8)[1] in ("it wrote too much", "OSError: [Errno 28] No space left on device")


def test_the_folder_is_private_and_the_environment_empty(level: Level) -> None:
    program = """
        import os, sys, tempfile
        print(os.listdir("."), dict(os.environ), sys.argv, len(sys.path))
        tempfile.NamedTemporaryFile("w", delete=False).write("x")
    """
    expected = ("[] {} ['solution.py'] 3\n", "")
    assert [run(program, level), run(program, level)] == [expected, expected]


def test_what_is_shown_of_the_host_is_read_only(level: Level) -> None:
    program = "import os; print([bool(os.statvfs(path).f_flag & os.ST_RDONLY) for path in ('/', os.__file__, '.')])"
    if level in WITH_NAMESPACES:
        assert run(program, level) == ("[True, True, False]\n", "")


def test_the_same_program_prints_the_same_again(level: Level) -> None:
    program = "print({str(n) for n in range(100)}, hash('x'))"
    assert run(program, level) == run(program, level)


def test_the_code_is_not_root_where_it_could_fork(level: Level) -> None:
    if level in WITH_NAMESPACES:
        assert int(run("import os; print(os.getuid())", level)[0]) > 0


# --- nothing is left ---


def test_nothing_stays_open_here(level: Level) -> None:
    def run_all() -> None:
        run_tests("f = abs", ["assert f(-2) == 2"], level)
        run_tests("import os; os._exit(1)", ["assert f(2) == 2"], level)
        run("while True: pass", level, wall_s=0.2)

    run_all()
    before = os.listdir("/proc/self/fd"), threading.active_count(), len(psutil.Process().children(recursive=True))
    run_all()
    run_all()
    assert before == (
        os.listdir("/proc/self/fd"),
        threading.active_count(),
        len(psutil.Process().children(recursive=True)),
    )


def test_folders_in_folders_are_removed() -> None:
    """More of them than Python's own removal follows."""
    with start._private_folder() as folder:
        at = os.open(folder, os.O_PATH)
        for _ in range(sys.getrecursionlimit() + 200):
            os.mkdir("folder", dir_fd=at)
            inner = os.open("folder", os.O_PATH, dir_fd=at)
            os.close(at)
            at = inner
        os.close(at)
    assert not os.path.exists(folder)


def test_a_sandbox_ends_with_the_process_that_started_it(level: Level, tmp_path: Path) -> None:
    program = (
        "from toolkit.sandbox import Limits, run_script\n"
        "code = 'import signal\\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\\nwhile True: pass'\n"
        f"run_script(code, [''], {level!r}, Limits(cpu_s=60, wall_s=60))"
    )
    libc = ctypes.CDLL(None)
    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to this process
    known = {child.pid for child in psutil.Process().children(recursive=True)}
    try:
        environment = os.environ | {"TMPDIR": str(tmp_path)}  # who is killed removes nothing
        started = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment)
        known.add(started.pid)
        _wait_for(lambda: any(child.cpu_times().user > 0.2 for child in _others(known)))
        started.kill()
        started.wait()
        _wait_for(lambda: not _others(known))
    finally:
        libc.prctl(36, 0, 0, 0, 0)


def _others(known: set[int]) -> list[psutil.Process]:
    """Running processes below this one, but for the known ones; those that have ended are reaped."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.pid in known:
                continue
            if child.status() == psutil.STATUS_ZOMBIE and child.ppid() == os.getpid():
                os.waitpid(child.pid, 0)
            else:
                found.append(child)
    return found


def _wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- tests in Python ---

SOLUTION = """
import collections, datetime, decimal, fractions
from dataclasses import dataclass

def double(x): return x * 2
def sort_in_place(values): values.sort()
def numbers(n): yield from range(n)
def refuse(x): raise ValueError(f"not {x}")
def echo(*args, **named): return (*args, named) if named else args[0]
def odd_value(kind):
    return {"counter": collections.Counter("aab"), "pair": collections.namedtuple("Pair", "a b")(1, 2),
            "date": datetime.date(2024, 2, 29), "decimal": decimal.Decimal("0.10"),
            "fraction": fractions.Fraction(1, 3), "deque": collections.deque([1])}[kind]

class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)

@dataclass
class Node:
    value: int
    next: "Node | None" = None

LIMIT = 7
"""


@pytest.mark.parametrize(
    "test",
    [
        "assert double(2) == 4",
        "assert 4 == double(2) and double('ab') == 'abab'",
        "assert [double(n) for n in range(3)] == [0, 2, 4]",
        "for n in range(20):\n    assert double(n) == n + n, n",
        "def check(f):\n    assert f(2) == 4\n    assert abs(f(0.1) - 0.2) < 1e-9\ncheck(double)",
        "assert math.isclose(double(0.1), 0.2)",
        "import math\nassert math.isclose(double(0.1), 0.2)",
        "values = [3, 1, 2]\nassert sort_in_place(values) is None\nassert values == [1, 2, 3]",
        "assert list(numbers(3)) == [0, 1, 2] and sum(numbers(4)) == 6",
        "try:\n    refuse(1)\n    assert False\nexcept ValueError as error:\n    assert str(error) == 'not 1'",
        "try:\n    refuse(1)\n    assert False\nexcept ValueError:\n    pass",
        "stack = Stack()\nstack.push(1)\nassert len(stack) == 1 and stack.pop() == 1 and not stack.items",
        "head = Node(1)\nhead.next = Node(2)\nassert head.next.value == 2 and head.next.next is None",
        "assert odd_value('counter') == {'a': 2, 'b': 1} and odd_value('pair') == (1, 2)",
        "import datetime\nassert odd_value('date') == datetime.date(2024, 2, 29)",
        "from decimal import Decimal\nassert odd_value('decimal') == Decimal('0.1')",
        "from fractions import Fraction\nassert odd_value('fraction') * 3 == 1",
        "import collections\nassert odd_value('deque') == collections.deque([1])",
        "assert echo(1, key={2: (3,)}) == (1, {'key': {2: (3,)}})",
        "assert echo(max)([1, 3]) == 3",
        "assert LIMIT == 7",
    ],
)
def test_a_right_program_passes(test: str, best: Level) -> None:
    assert [(found.passed, found.why) for found in run_tests(SOLUTION, [test], best)] == [(True, "")]


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("assert double(2) == 5", "assertion 1 failed"),
        ("assert double(2) == 4\nassert double(3) == 7, 'message'", "assertion 2 failed: message"),
        ("assert absent(2) == 4", "NameError: name 'absent' is not defined"),
        ("assert refuse(2) == 4", "ValueError: not 2"),
        ("for item in numbers(0):\n    assert item == 1", "no assertion was reached"),
        ("assert Node(1) == Node(1)", "assertion 1 failed"),  # only the code could say: see `inside/judge.py`
    ],
)
def test_a_wrong_program_fails_with_its_reason(test: str, why: str, best: Level) -> None:
    assert [(found.passed, found.why) for found in run_tests(SOLUTION, [test], best)] == [(False, why)]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("import os; os._exit(0)", "the code ended the process"),
        ("import os; os.abort()", "it "),
        ("import ctypes; ctypes.string_at(0)", "it crashed: segmentation fault"),
        ("return 1 << 2**26", "what it said is too long"),
    ],
)
def test_a_program_that_ends_itself_fails_what_is_left(body: str, why: str, best: Level) -> None:
    program = f"def f(x):\n    if x < 3: return x\n    {body}"
    found = run_tests(program, [f"assert f({n}) == {n}" for n in range(5)], best)
    assert [run.passed for run in found] == [True, True, True, False, False]
    assert all(run.why.startswith(why) for run in found[3:]), found


def test_a_test_that_cannot_be_asked_is_not_judged(best: Level) -> None:
    tests = ["assert double(lambda: 1)", "assert double(2) == 4"]
    assert [found.passed for found in run_tests(SOLUTION, tests, best)] == [None, True]


def test_a_program_that_cannot_be_loaded_passes_nothing(best: Level) -> None:
    found = run_tests("def f(:", ["assert f(2) == 4", "assert f(3) == 4"], best)
    assert [run.passed for run in found] == [False, False]
    assert found[0].why.startswith("SyntaxError")


def test_a_function_with_the_name_of_a_builtin_is_the_codes(best: Level) -> None:
    assert run_tests("def sum(a, b): return a * b", ["assert sum(10, 15) == 150"], best)[0].passed
    # And only then: with another name in the tests, `abs` is Python's own
    hijack = "def f(x): return 0\ndef abs(x): return 0"
    assert not run_tests(hijack, ["assert abs(f(2) - 4) < 1e-6"], best)[0].passed


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        (["assert f(2) =="], "test 1 is no Python"),
        (["assert f(2) == 4", "f(2)"], "test 2 has no assertion"),
        (["assert 1 == 1"], "test 1 names nothing of the code"),
        (["def check(candidate):\n    assert candidate(2) == 4"], "test 1 names nothing of the code"),
    ],
)
def test_tests_that_test_nothing_are_refused(tests: list[str], why: str, best: Level) -> None:
    with pytest.raises(DataError, match=why):
        run_tests("f = abs", tests, best)


def never(value: Any) -> Any:
    raise AssertionError(f"{value} is not plain")


VALUES = [
    None, True, 0, -(2**63), 2**100, 0.1, float("inf"), 1 + 2j, "", "é\ud800\n", b"\x00\xff", [], [[1], (2,)], (),
    {1, 2}, frozenset("a"), {"a": {1: None}, (1, 2): [3]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_plain_value_arrives_as_it_was(value: object) -> None:
    told = json.loads(json.dumps(wire.encode(value, never)))
    found = wire.decode(told, never)
    assert (found, type(found)) == (value, type(value))


def test_a_subclass_arrives_as_its_base() -> None:
    class Equal(int):
        __eq__ = lambda *_: True  # type: ignore[assignment]  # noqa: E731
        __hash__ = int.__hash__

    class Text(str):
        __slots__ = ()

    found = wire.decode(wire.encode([Equal(3), Text("x")], never), never)
    assert [type(item) for item in found] == [int, str]
    assert found != [4, "x"]
