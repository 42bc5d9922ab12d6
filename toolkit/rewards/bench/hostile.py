"""The part of the contract that needs a thread, a process or a clock."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

from toolkit.findings import Finding
from toolkit.rewards.bench.calling import Outcome, Sample, arguments, call, heard, same, score
from toolkit.rewards.bench.subject import Subject
from toolkit.rewards.target import find
from toolkit.units import format_seconds

LONG_CHARS = 8_000  # 2,000 tokens and more
HUGE_CHARS = 100_000  # 32,000 tokens
HUGE_TEXTS = ("a", "9", " ", "\n", "(", "<answer>", "</answer>", "####", "\\boxed{", "1+", "a=1 ", "，")
# Long before huge: a pattern that needs exponential time must not look like one that needs quadratic time
SIZES = [(n, unit) for n in (LONG_CHARS, HUGE_CHARS) for unit in HUGE_TEXTS]
SLOW_S, HARD_LIMIT_S = 1.0, 10.0
START_LIMIT_S = 120.0
"""For a new process to import the reward, with torch if it needs that, and to make one call."""
SLOW_COMPLETION_S = 0.02
ROUND = 256  # completions


def from_a_thread(subject: Subject) -> Iterator[Finding]:
    """The same scores from a worker thread, where `signal.alarm` cannot be set and time-outs made of it fail."""
    found: list[Outcome] = []
    given = arguments(subject.probes)
    thread = threading.Thread(target=lambda: found.append(call(subject.target.function, given)), daemon=True)
    thread.start()
    thread.join(START_LIMIT_S)
    if found and not found[0].fault and (not subject.repeats or same(found[0].scores, subject.scores)):
        yield Finding("thread", "green", "the same scores from a worker thread")
        return
    fault = found[0].fault if found else f"no answer in {START_LIMIT_S:g} s"
    detail = fault or "other scores than from the main thread"
    next_step = "no signal.alarm: math-verify wants parsing_timeout=None and a process, as in correct_latex"
    yield Finding("thread", "red", f"from a worker thread: {detail}", "the same scores", next_step)


def speed(subject: Subject) -> Iterator[Finding]:
    """Wall time of one completion, from the second call on."""
    each_s = subject.score(subject.probes).wall_s / len(subject.probes)
    found = f"{_time(each_s)} a completion, {_time(ROUND * each_s)} for {ROUND}"
    if each_s > SLOW_COMPLETION_S:
        next_step = "cache, score in parallel, or give it fewer completions"
        yield Finding("time", "amber", found, f"under {_time(SLOW_COMPLETION_S)}: the card waits meanwhile", next_step)
    else:
        yield Finding("time", "green", found)


def _time(seconds: float) -> str:
    if seconds >= 1:
        return format_seconds(seconds)
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def from_a_process(subject: Subject) -> Iterator[Finding]:
    """Pickled into a spawned process it scores the same; a call on a huge text that never ends can be stopped there."""
    try:
        pickled, why_not = pickle.dumps(subject.target.function), ""
    except Exception as error:  # pickle raises whatever the object's own code does
        pickled, why_not = b"", f"{type(error).__name__}: {error}"
    huge = [Sample(subject.rows[0], unit * (n // len(unit))) for n, unit in SIZES]
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(send, pickled, subject.target.name, subject.probes, huge))
    process.start()
    send.close()
    try:
        outcome = _next(receive, START_LIMIT_S)
        yield _pickling(subject, outcome, why_not)
        if not outcome.error:
            yield _huge(receive)
    finally:
        process.kill()
        process.join()


def _work(send: Connection, pickled: bytes, name: str, probes: list[Sample], huge: list[Sample]) -> None:
    """In the new process: one call of the function, found by its name where it is not pickled, and one a huge text."""
    with heard():  # what it prints has been counted in the first process
        _send_scores(send, pickled, name, probes, huge)


def _send_scores(send: Connection, pickled: bytes, name: str, probes: list[Sample], huge: list[Sample]) -> None:
    try:
        function = pickle.loads(pickled) if pickled else find(name).function  # noqa: S301 # our own bytes
    except Exception as error:
        send.send(Outcome(error=f"{type(error).__name__}: {error}"))
        return
    outcome = score(function, probes)
    send.send(Outcome(outcome.scores, outcome.fault))
    for sample in huge:
        outcome = score(function, [sample])
        send.send(Outcome(error=outcome.fault, wall_s=outcome.wall_s))


def _next(receive: Connection, limit_s: float) -> Outcome:
    """What the process says next; silence and its end are errors."""
    if not receive.poll(limit_s):
        return Outcome(error=f"no answer in {limit_s:g} s", wall_s=limit_s)
    try:
        return receive.recv()
    except EOFError:
        return Outcome(error="the process ended")


def _pickling(subject: Subject, outcome: Outcome, why_not: str) -> Finding:
    level = "red" if subject.target.declared is not None else "amber"  # TRL itself calls in its own process
    next_step = "define it at the top of a module, and keep no open files, locks or lambdas in it"
    if why_not:
        return Finding("process", level, f"cannot be pickled ({why_not})", "a function that pickles", next_step)
    if not outcome.error and (not subject.repeats or same(outcome.result, subject.scores)):
        return Finding("process", "green", "pickles, and scores the same in a spawned process")
    found = f"in a spawned process: {outcome.error}" if outcome.error else "other scores in a spawned process"
    return Finding("process", level, found, "the same scores", next_step)


def _huge(receive: Connection) -> Finding:
    next_step = "linear patterns only: no (a+)+, no <tag>.*? from every tag on; and a limit on what is parsed"
    slowest, name = 0.0, ""
    for n, unit in SIZES:
        outcome = _next(receive, HARD_LIMIT_S)
        text = f"{unit!r} up to {n:,} characters"
        if outcome.error:
            level = "red" if n == LONG_CHARS or outcome.wall_s < HARD_LIMIT_S else "amber"
            return Finding("huge_texts", level, f"{text}: {outcome.error}", "under a second", next_step)
        if outcome.wall_s > slowest:
            slowest, name = outcome.wall_s, text
    if slowest > SLOW_S:
        return Finding("huge_texts", "amber", f"{name}: {_time(slowest)}", "under a second", next_step)
    n = len(HUGE_TEXTS)
    return Finding("huge_texts", "green", f"{n} texts of {HUGE_CHARS:,} characters take {_time(slowest)} at most")
