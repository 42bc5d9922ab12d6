"""The live view under a real pseudo-terminal, and the plain lines everywhere else.

The terminal is emulated as far as rich uses it, so a torn panel is seen as a person would see it.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from toolkit.display.live import LiveView, View, open_view
from toolkit.display.state import RunState
from toolkit.display.terminal import visible

COLUMNS, ROWS = 90, 50
N_STEPS = 4
FRAMES = 0.6  # seconds in which the panel is drawn at least once

RUN = f"""
import ctypes, logging, os, signal, subprocess, sys, time, warnings
from pathlib import Path

logging.getLogger().addHandler(logging.StreamHandler())  # keeps the sys.stderr of now

from rich.console import Console
from toolkit.display.state import RunState
from toolkit.display.live import open_view

log_path, ending = Path(sys.argv[1]), sys.argv[2]
before = [os.fstat(fd).st_ino for fd in (1, 2)]
state = RunState("demo", "tiny", "cpu", "runs/demo", {N_STEPS})
with open_view(state, Console(), log_path) as view:
    view.phase("training")
    for step in range(1, {N_STEPS} + 1):
        view.update(step, {{"reward": step / 4, "time/step_s": 0.5}})
        print("python print", step)
        os.write(1, b"straight to descriptor 1\\n")
        logging.warning("logging %d", step)
        warnings.warn(f"a warning {{step}}")
        subprocess.run(["sh", "-c", f"echo child {{step}}; echo child error {{step}} >&2"])
        for done in range(5):
            sys.stderr.write(f"\\r\\x1b[32mbar {{step}}: {{25 * done}}%\\x1b[0m")
            time.sleep(0.02)
        sys.stderr.write("\\n")
        view.say(f"said {{step}}")
        time.sleep({FRAMES} / 2)
    heir = subprocess.Popen(["sh", "-c", "read line; echo $line"], stdin=subprocess.PIPE, text=True)
    print("\\n".join(f"rapid {{i}}" for i in range(100)))
    ctypes.CDLL(None).printf(b"buffered by C without a line end")
    if ending == "interrupt":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
heir.communicate("written after the view")
print("child ended with", heir.returncode)
print("descriptors as before:", before == [os.fstat(fd).st_ino for fd in (1, 2)])
os.write(2, b"the end\\n")
"""
CAUGHT = [
    *(f"python print {step}" for step in range(1, N_STEPS + 1)),
    *(f"logging {step}" for step in range(1, N_STEPS + 1)),
    *(f"child {step}" for step in range(1, N_STEPS + 1)),
    *(f"child error {step}" for step in range(1, N_STEPS + 1)),
    *(f"bar {step}: 100%" for step in range(1, N_STEPS + 1)),
    *(f"rapid {i}" for i in range(100)),
    "straight to descriptor 1",
    "buffered by C without a line end",
]


def environ(**changes: str) -> dict[str, str]:
    """The environment without what would decide the size, the colours or the buffering under test."""
    deciding = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED")
    return {name: value for name, value in os.environ.items() if name not in deciding} | changes


def run_in_terminal(log_path: Path, ending: str) -> str:
    """Run the script above with descriptors 1 and 2 on a pseudo-terminal and return all that reached it."""
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (ROWS, COLUMNS))
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(log_path), ending],
        stdin=subprocess.DEVNULL,  # so that the size of the terminal is to be had from 1 and 2 only
        stdout=side,
        stderr=side,
        env=environ(TERM="xterm-256color"),
    )
    os.close(side)
    output = b""
    with contextlib.suppress(OSError):  # EIO: the last writer has closed it
        while data := os.read(main, 65536):
            output += data
    os.close(main)
    process.wait(timeout=10)
    return output.decode()


def screen_of(output: str) -> list[str]:
    """The lines that a terminal without end would show after `output`; refuses sequences it does not know."""
    lines, row, column = [""], 0, 0
    for sequence, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|[\r\n])|([^\x1b\r\n]+)", output):
        if sequence == "\n":  # the terminal driver turns \n into \r\n, so \r has been seen
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif sequence == "\r":
            column = 0
        elif sequence.endswith("A"):
            row = max(0, row - int(sequence[2:-1]))
        elif sequence == "\x1b[2K":
            lines[row] = ""
        elif text:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
        else:
            assert sequence.endswith("m") or sequence in ("\x1b[?25l", "\x1b[?25h"), repr(sequence)
    return [line.rstrip() for line in lines]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What reached the terminal and what reached the log of a run that ends by itself."""
    log_path = tmp_path_factory.mktemp("run") / "console.log"
    log_path.write_text("from before a resume\n")
    return run_in_terminal(log_path, "return"), log_path.read_text()


def test_the_log_has_every_line_of_others(finished_run: tuple[str, str]) -> None:
    log = [visible(line) for line in finished_run[1].splitlines()]
    assert log[0] == "from before a resume"
    assert set(CAUGHT) <= set(log)
    assert log.count("straight to descriptor 1") == N_STEPS
    assert not any(line.startswith(("said", "step", "╭")) for line in log)


def test_the_panel_is_whole_and_there_once(finished_run: tuple[str, str]) -> None:
    screen = screen_of(finished_run[0])
    (top,) = [i for i, line in enumerate(screen) if line.startswith("╭─ demo · tiny · cpu ─")]
    (bottom,) = [i for i, line in enumerate(screen) if line.startswith("╰─ runs/demo ─")]
    panel = screen[top : bottom + 1]
    assert {len(line) for line in panel} == {COLUMNS}
    assert all(line[0] in "╭│╰" and line[-1] in "╮│╯" for line in panel)
    assert sum("│" in line or "╭" in line or "╰" in line for line in screen) == len(panel)
    assert "4/4  100%" in panel[1]


def test_every_frame_is_as_wide_as_the_terminal(finished_run: tuple[str, str]) -> None:
    tops = re.findall("╭.*?╮", re.sub(r"\x1b\[[0-9;]*m", "", finished_run[0]))
    assert len(tops) > N_STEPS
    assert {len(top) for top in tops} == {COLUMNS}


def test_others_are_shown_once_each_above_the_panel(finished_run: tuple[str, str]) -> None:
    screen = screen_of(finished_run[0])
    above = screen[: next(i for i, line in enumerate(screen) if line.startswith("╭"))]
    assert "from before a resume" not in above
    for line in (f"said {N_STEPS}", f"python print {N_STEPS}", "straight to descriptor 1", f"bar {N_STEPS}: 100%"):
        assert above.count(line) == 1, line
    assert above.count("rapid 99") == 1
    assert "rapid 0" not in above  # a hundred at once: the newest are shown, the others counted
    assert any(re.match(r"\d+ repeated or rapid lines not shown, see\b", line) for line in above)  # a long path wraps


def test_afterwards_the_terminal_is_given_back(finished_run: tuple[str, str]) -> None:
    screen, log = screen_of(finished_run[0]), finished_run[1]
    assert [line for line in screen if line][-3:] == [
        "child ended with 0",  # it inherited the capture, which neither held the exit up nor broke under the child
        "descriptors as before: True",
        "the end",
    ]
    assert "written after the view" in log
    assert "the end" not in log


def test_an_interrupt_restores_the_terminal_and_keeps_the_panel(tmp_path: Path) -> None:
    output = run_in_terminal(tmp_path / "console.log", "interrupt")
    screen = screen_of(output)
    bottom = next(i for i, line in enumerate(screen) if line.startswith("╰─ runs/demo ─"))
    assert "Traceback (most recent call last):" in screen[bottom:]
    assert "KeyboardInterrupt" in screen[bottom:]
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")  # the cursor is back
    assert "buffered by C without a line end" in (tmp_path / "console.log").read_text()


@pytest.mark.parametrize("changes", [{}, {"FORCE_COLOR": "1"}])
def test_a_pipe_gets_one_plain_line_a_step_at_once_and_nothing_is_caught(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    script = RUN.split("        print(")[0] + "        os.write(1, b'written after\\n')\n"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "console.log"), "return"],
        capture_output=True,
        text=True,
        check=True,
        env=environ(**changes),
    )
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "training",
        "step 1/4  reward 0.25  length -  truncated -  - tok/s  0.5s/step  eta 1.5s",
        "written after",
    ]
    assert len(lines) == 1 + 2 * N_STEPS
    assert not (tmp_path / "console.log").exists()


def test_a_terminal_in_memory_gets_the_panel_and_leaves_the_descriptors_alone(tmp_path: Path) -> None:
    state = RunState("demo", "tiny", "cpu", "runs/demo", 2)
    screen = Console(file=StringIO(), width=80, force_terminal=True, color_system=None, _environ={})
    before = [os.fstat(fd).st_ino for fd in (1, 2)]
    with open_view(state, screen, tmp_path / "console.log") as view:
        assert isinstance(view, LiveView)
        assert [os.fstat(fd).st_ino for fd in (1, 2)] == before
        view.update(1, {"reward": 0.5})
        view.say("said")
    assert isinstance(screen.file, StringIO)
    lines = screen_of(screen.file.getvalue().replace("\n", "\r\n"))
    assert lines[0] == "said"
    assert "1/2  50%" in lines[2]
    assert len([line for line in lines if line.startswith("╭")]) == 1


def test_a_signal_handler_may_speak_in_the_middle_of_an_update() -> None:
    class Interrupted(dict[str, float]):
        def get(self, key: str, default: float | None = None) -> float | None:  # type: ignore[override]
            view.say("stopping after this step")
            return super().get(key, default)

    screen = Console(file=StringIO(), width=80, force_terminal=True, color_system=None, _environ={})
    view = LiveView(RunState("demo", "tiny", "cpu", "runs/demo", 2), screen, None)  # not entered: a failure cannot hang
    update = threading.Thread(target=view.update, args=(1, Interrupted(reward=1.0)), daemon=True)
    update.start()
    update.join(timeout=5)
    assert not update.is_alive()


def test_elapsed_time_moves_without_an_update() -> None:
    screen = Console(file=StringIO(), width=80, force_terminal=True, color_system=None, _environ={})
    assert isinstance(screen.file, StringIO)
    with open_view(RunState("demo", "tiny", "cpu", "runs/demo", 2), screen, None):
        time.sleep(FRAMES)
        assert len(set(re.findall(r"elapsed (\S+)", screen.file.getvalue()))) > 1


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    state = RunState("demo", "tiny", "cpu", "runs/demo", 2)
    assert type(open_view(state, Console(file=StringIO(), force_terminal=True), None)) is View


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\r 10%|#\r 90%|###\r", " 90%|###"),
        ("windows\r", "windows"),
        ("\r100%|####\r\x1b[Anext bar", "next bar"),
        ("\x1b]0;title\x07text\x1b(B", "text"),
        ("bell\x07 and\ttab", "bell and\ttab"),
        ("\r\x1b[K", ""),
    ],
)
def test_visible_keeps_what_a_terminal_would(raw: str, seen: str) -> None:
    assert visible(raw) == seen
