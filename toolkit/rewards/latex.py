"""LaTeX equivalence by math-verify, in worker processes that are killed when they take too long.

Works from any thread and in spawned processes, and does not start a process for each call: a worker answers until it
hangs, then it is killed and the next call starts another.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import RewardError
from toolkit.rewards import notation
from toolkit.rewards.prose import strip_tags

WORKER = Path(__file__).with_name("latex_worker.py")
START_TIMEOUT_S = 120.0  # sympy's import on a busy machine
MAX_CHARS = 20_000  # of an answer; longer is not read
_FORMULA_MARKS = ("$", "\\(", "\\[", "\\boxed", "\\begin")


@dataclass(frozen=True)
class Equivalence:
    """How math-verify compares; the names are those of its `verify`."""

    read: tuple[Literal["latex", "expr"], ...] = ("latex", "expr")
    """What it looks for in a text: LaTeX formulas, plain expressions."""
    float_rounding: int = 6
    """Decimal places to which floats are rounded."""
    strict: bool = True
    """Names of variables matter, and a set is no tuple."""
    allow_set_relation_comp: bool = True
    """A gold interval or union may be answered by inequalities; the other way round is always allowed."""
    timeout_s: float = 5.0
    """Seconds for one comparison, reading included; then the worker is killed."""


DEFAULT = Equivalence()


@dataclass(frozen=True)
class Comparison:
    """Equal or not, or None with the reason why it cannot be said."""

    equal: bool | None
    why: str = ""


@lru_cache(maxsize=8192)  # a group repeats its answers, and a time-out is not waited for twice
def equivalent(answer: str, gold: str, how: Equivalence) -> Comparison:
    """Whether two texts hold the same mathematics. The order matters to math-verify.

    Tags are stripped first. Where several formulas stand in a text, the last box counts, else the last formula. What
    math-verify says is not taken as it is: see `notation` for the marks that it drops, and `latex_worker` for
    inequalities and small numbers.
    """
    if max(len(answer), len(gold)) > MAX_CHARS:
        return Comparison(None if len(gold) > MAX_CHARS else False, f"longer than {MAX_CHARS} characters")
    answer, gold = strip_tags(answer), strip_tags(gold)
    answer, gold = notation.rewritten(answer, "\\pi" in gold), notation.rewritten(gold, "\\pi" in answer)
    comparison = _pool(os.getpid()).ask(answer, gold, how)
    if comparison.equal and (what := notation.difference(answer, gold)):
        return Comparison(False, f"they differ in {what}")
    return comparison


def equivalent_all(pairs: Sequence[tuple[str, str]], how: Equivalence, workers: int) -> list[Comparison]:
    """`equivalent` of many (answer, gold) pairs, by several workers at a time."""
    with ThreadPoolExecutor(max(1, workers)) as threads:
        return list(threads.map(lambda pair: equivalent(*pair, how), pairs))


def as_formula(answer: str) -> str:
    """The answer marked as a formula, unless it is already: math-verify does not see bare LaTeX."""
    if any(mark in answer for mark in _FORMULA_MARKS) or answer.count("{") != answer.count("}"):
        return answer
    return f"\\boxed{{{answer.strip()}}}"


class _Worker:
    """One worker process, and the thread that reads from it (a pipe cannot be waited for with a limit everywhere)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],  # -P: this folder's modules must not hide the standard library's
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent, which finishes its step
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        if self._next(START_TIMEOUT_S) is None:
            assert self._process.stderr is not None
            self._process.kill()
            last = (self._process.stderr.read().decode(errors="replace").strip().splitlines() or ["no reply"])[-1]
            raise RewardError(f"math-verify does not start ({last})", next_step="pip install math-verify")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _next(self, timeout_s: float) -> dict[str, Any] | None:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None
        return json.loads(line) if line else None

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The reply, or None when there is none in time, or the process has died; then it is stopped."""
        assert self._process.stdin is not None
        reply = None
        with contextlib.suppress(OSError):  # it has died
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            reply = self._next(request["timeout_s"])
        if reply is None:
            self.stop()
        return reply

    def lives(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not yet written cannot be
                    pipe.close()


@dataclass
class Pool:
    """Workers of this process: idle ones are kept, one more is started when none is idle."""

    _idle: queue.LifoQueue[_Worker] = field(default_factory=queue.LifoQueue)
    _pid: int = field(default_factory=os.getpid)

    def ask(self, answer: str, gold: str, how: Equivalence) -> Comparison:
        """Compare in a worker, which is lent to one caller at a time."""
        settings = {name: value for name, value in asdict(how).items() if name not in ("read", "timeout_s")}
        conditions = {"answer": notation.alternatives(answer), "gold": notation.alternatives(gold)}
        request = {"answer": answer, "gold": gold, "read": how.read, "conditions": conditions}
        request |= {"settings": settings, "timeout_s": how.timeout_s}
        worker = self._worker()
        reply = worker.ask(request)
        if reply is None:
            return Comparison(None, f"math-verify took more than {how.timeout_s:g} s, or died")
        self._idle.put(worker)
        return Comparison(reply["equal"], reply["why"])

    def _worker(self) -> _Worker:
        """An idle worker that lives, or a new one."""
        while True:
            try:
                worker = self._idle.get_nowait()
            except queue.Empty:
                return _Worker()
            if worker.lives():
                return worker
            worker.stop()

    def close(self) -> None:
        """Stop the idle workers, unless this is a forked child, to which they do not belong."""
        while os.getpid() == self._pid:
            try:
                self._idle.get_nowait().stop()
            except queue.Empty:
                return


@lru_cache(maxsize=1)
def _pool(pid: int) -> Pool:
    """The workers of this process; a forked child starts its own, since it cannot share its parent's pipes."""
    made = Pool(_pid=pid)
    atexit.register(made.close)
    return made
