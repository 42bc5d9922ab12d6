"""Calls a reward function as TRL 1.15 does, and reads what comes back."""

from __future__ import annotations

import asyncio
import inspect
import io
import math
import os
import re
import signal
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from types import FrameType, SimpleNamespace
from typing import Any

from toolkit.data.schema import Row
from toolkit.errors import ToolkitError
from toolkit.rewards.base import RewardFunction, RewardWarning
from toolkit.rewards.bench.source import behind
from toolkit.rewards.completions import FINISH_REASON, finish_reason, one_line
from toolkit.units import plural

Scores = list[float | None]
TOLERANCE = 1e-6
"""Scores that differ by less are the same."""
_TOKEN = re.compile(r" ?[^\W\d]{1,12}|\d|\s{1,32}|[^\w\s]")


@dataclass(frozen=True)
class Sample:
    row: Row
    text: str


@dataclass(frozen=True)
class Outcome:
    """What one call for `n` completions came to."""

    result: Any = None
    error: str = ""
    """The exception it ended with, on one line."""
    n: int = 0
    wall_s: float = 0.0
    exception: BaseException | None = None

    @property
    def problem(self) -> tuple[str, str] | None:
        """The name of what is wrong, and in words; None when all is well."""
        if self.error:
            return "call", f"raises {self.error}"
        if isinstance(self.result, (str, bytes, Mapping)) or not hasattr(self.result, "__len__"):
            return "types", f"returns {_kind(self.result)}"
        if len(self.result) != self.n:
            return "length", f"returns {plural(len(self.result), 'score')} for {plural(self.n, 'completion')}"
        odd = [score for score in self.result if score is not None and not _is_number(score)]
        if odd:
            return "types", f"a score is {_kind(odd[0])}: {one_line(repr(odd[0]), 40)}"
        wild = next((score for score in self.result if score is not None and not math.isfinite(score)), None)
        return None if wild is None else ("finite", f"a score is {wild}")

    @property
    def fault(self) -> str:
        """What is wrong, in words; empty when all is well."""
        return self.problem[1] if self.problem else ""

    @property
    def scores(self) -> Scores:
        """One a completion; none at all where there is a problem."""
        return [] if self.problem else [None if score is None else float(score) for score in self.result]


def same(a: Scores, b: Scores) -> bool:
    """Whether two lists of scores are equal, None in the same places."""
    pairs = zip(a, b, strict=False)
    return len(a) == len(b) and all(x is y if x is None or y is None else abs(x - y) <= TOLERANCE for x, y in pairs)


def _is_number(score: Any) -> bool:
    """Whether TRL can make a float of it: a number, NumPy's too, or a tensor of one."""
    return hasattr(score, "__float__") and not getattr(score, "shape", ())


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "nothing (None)" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def is_conversational(row: Row) -> bool:
    """Whether the row's prompt is messages, so that its completions will be."""
    return isinstance(row.get("prompt"), list)


def arguments(samples: Sequence[Sample], *, messages: bool | None = None) -> dict[str, Any]:
    """TRL's keyword arguments for these completions, in the first step of a run; nothing in them is shared.

    `messages`: completions as messages, or as text; by default as the row's prompt is.
    """
    renamed = ("prompt", "completion", "completion_ids")  # columns that TRL does not pass on under their names
    columns = [name for name in samples[0].row if name not in renamed]
    return {
        "prompts": [deepcopy(sample.row["prompt"]) for sample in samples],
        "completions": [_shaped(sample, messages) for sample in samples],
        "completion_ids": [stand_in_ids(sample.text) for sample in samples],
        "trainer_state": SimpleNamespace(global_step=0, max_steps=500, epoch=0.0, log_history=[]),
        "log_extra": _ignore,
        "log_metric": _ignore,
        FINISH_REASON: [finish_reason(is_truncated=False)] * len(samples),
        **{name: [deepcopy(sample.row.get(name)) for sample in samples] for name in columns},
    }


def stand_in_ids(text: str) -> list[int]:
    """Token ids without a tokenizer, about as many: words, single digits and signs; equal ones have equal ids."""
    return [zlib.crc32(token.encode("utf-8", "replace")) for token in _TOKEN.findall(text)]


def _shaped(sample: Sample, messages: bool | None) -> str | list[dict[str, str]]:
    wanted = is_conversational(sample.row) if messages is None else messages
    return [{"role": "assistant", "content": sample.text}] if wanted else sample.text


def _ignore(name: str, value: Any) -> None:
    """Stands for TRL's `log_extra` and `log_metric`; a function of the module, so that it pickles."""


def call(function: Callable[..., Any], given: Mapping[str, Any], limit_s: float | None = None) -> Outcome:
    """Call a reward, async ones too; whatever it raises is data, and so is its attempt to end the process."""
    started, n = time.perf_counter(), len(given["completions"])
    try:
        with warnings.catch_warnings(), _no_exit(), limited(limit_s):
            warnings.simplefilter("ignore", RewardWarning)  # golds that cannot be read are part of the tests
            result = function(**given)
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
            if isinstance(result, Iterable) and not isinstance(result, (str, bytes, Mapping)):
                result = list(result)  # as TRL does: a generator, an array or a tensor will do
    except (Exception, SystemExit, TooSlow) as error:
        text = _told(error)
        return Outcome(error=text, n=n, wall_s=time.perf_counter() - started, exception=error)
    return Outcome(result, n=n, wall_s=time.perf_counter() - started)


class TooSlow(BaseException):
    """A call did not come back. No Exception, which the reward itself might catch."""


@contextmanager
def limited(limit_s: float | None) -> Iterator[None]:
    """Let what runs inside, in the main thread, end with `TooSlow` after so many seconds; None for no limit."""
    if limit_s is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"no answer in {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _told(error: BaseException) -> str:
    if isinstance(error, TooSlow):
        return str(error)
    if isinstance(error, SystemExit):
        return f"SystemExit({error.code!r}): it ends the process"
    kind = "" if isinstance(error, ToolkitError) else f"{type(error).__name__}: "
    return f"{kind}{one_line(str(error).rstrip('.'), 160)}"


@contextmanager
def _no_exit() -> Iterator[None]:
    """`os._exit` raises SystemExit in this process: nothing could catch it, and a check would end with its code, 0.

    Processes that a reward forks end by `os._exit`, and still do.
    """
    real, here = os._exit, os.getpid()

    def refuse(code: int = 0) -> None:
        if os.getpid() != here:
            real(code)
        raise SystemExit(code)

    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = real


class Heard(io.RawIOBase):
    """Takes what is printed, counts its lines and keeps the first that says something."""

    def __init__(self) -> None:
        self.n_lines, self.first, self._begun = 0, "", b""
        self._nowhere = open(os.devnull, "wb")  # noqa: SIM115 - as long as this one: for programs that a reward starts

    def fileno(self) -> int:
        return self._nowhere.fileno()

    def close(self) -> None:
        self._nowhere.close()
        super().close()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        *lines, self._begun = (self._begun + bytes(data)).split(b"\n")
        for line in lines:
            self._line(line)
        return len(data)

    def end(self) -> None:
        """Count a line that has no end."""
        if self._begun:
            self._line(self._begun)
        self._begun = b""

    def _line(self, line: bytes) -> None:
        self.n_lines += 1
        self.first = self.first or one_line(line.decode("utf-8", "replace"), 60)

    def __str__(self) -> str:
        first = f", the first: {self.first!r}" if self.first else ""
        return f"printed {plural(self.n_lines, 'line')}{first}"


@contextmanager
def heard() -> Iterator[Heard]:
    """Keep what a reward prints or logs, to both outputs, off the screen: a check calls it thousands of times."""
    sink = Heard()
    # A real text file over it: code that asks for sys.stdout.buffer or its encoding finds them
    file = io.TextIOWrapper(io.BufferedWriter(sink), encoding="utf-8", errors="backslashreplace", write_through=True)
    try:
        with redirect_stdout(file), redirect_stderr(file):
            yield sink
    finally:
        file.flush()
        sink.end()


def name_of(function: Callable[..., Any]) -> str:
    """The name under which TRL 1.15 logs a reward (`trl.trainer.utils.get_callable_name`)."""
    function = behind(function)
    return getattr(function, "__name__", type(function).__name__)


async def _awaited(result: Any) -> Any:
    return await result


def score(
    function: Callable[..., Any],
    samples: Sequence[Sample],
    *,
    messages: bool | None = None,
    limit_s: float | None = None,
) -> Outcome:
    return call(function, arguments(samples, messages=messages), limit_s)


def reason(declared: RewardFunction | None, sample: Sample) -> str:
    """Why a reward of this library gives a completion its score; empty for any other."""
    if declared is None:
        return ""
    row = {name: values[0] for name, values in arguments([sample]).items() if isinstance(values, list)}
    return declared.explain(row.pop("completions"), **row).reason
