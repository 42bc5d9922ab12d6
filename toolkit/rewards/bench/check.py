"""Checks a reward against its contract: whole for `toolkit reward check`, in part before every training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from toolkit.data.schema import Row
from toolkit.errors import RewardError
from toolkit.rewards.bench import hostile
from toolkit.rewards.bench.contract import CHECKS, SOUND, structure
from toolkit.rewards.bench.findings import Finding, Verdict
from toolkit.rewards.bench.subject import Subject
from toolkit.rewards.bench.target import Target

N_ROWS_BEFORE_TRAINING = 16
BUDGET_S = 0.5  # of one reward before training; what does not fit in is left out
SLOW_ROW_S = 0.05  # the four completions of one row; a reward that takes longer is checked on that row alone


def check(subject: Subject) -> Verdict:
    """Every check."""
    slow = (hostile.from_a_thread, hostile.speed, hostile.from_a_process)
    return _verdict(subject, list(_findings(subject, (*CHECKS, *slow))))


def check_before_training(function: Callable[..., object], rows: Sequence[Row]) -> Verdict:
    """The checks of a function on a run's first rows: all that half a second allows, a failure last if there is one.

    A slow reward, such as a model's, is asked about four completions and little more. Threads and processes are left
    out: TRL calls rewards in its own main thread.
    """
    name = getattr(function, "__name__", type(function).__name__)
    subject = Subject(Target(name, function), rows[:1])
    if subject.first.wall_s < SLOW_ROW_S:
        subject = Subject(Target(name, function), rows[:N_ROWS_BEFORE_TRAINING])
    started = time.perf_counter()
    findings = []
    for finding in _findings(subject, CHECKS):
        findings.append(finding)
        if finding.status == "FAIL" or time.perf_counter() - started > BUDGET_S:
            break
    return _verdict(subject, findings)


def refusal(verdict: Verdict) -> RewardError | None:
    """The one line that stops a run; None where the contract holds."""
    for finding in verdict.failed:
        found = f"reward {verdict.reward!r} fails its check {finding.name!r}: {finding.found}"
        return RewardError(found, finding.wanted, f"{finding.remedy}, or start anyway with --force")
    return None


def _findings(subject: Subject, checks: Sequence[Callable[[Subject], Iterator[Finding]]]) -> Iterator[Finding]:
    """What the checks find, one by one; only the structure's where that fails."""
    for finding in structure(subject):
        yield finding
        if finding.status == "FAIL":
            return
    for each in checks:
        yield from each(subject)


def _verdict(subject: Subject, findings: Sequence[Finding]) -> Verdict:
    called = any(finding.name == SOUND for finding in findings)
    return Verdict(subject.target.name, subject.layout if called else "", len(subject.rows), findings)
