"""Checks a reward against its contract: whole for `toolkit reward check`, in part before every training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.data.schema import Row
from toolkit.errors import RewardError
from toolkit.findings import Finding, Level
from toolkit.rewards.bench import hostile
from toolkit.rewards.bench.contract import CHECKS, SOUND, structure
from toolkit.rewards.bench.subject import Subject
from toolkit.rewards.bench.target import Target

N_ROWS_BEFORE_TRAINING = 16
BUDGET_S = 0.5  # of one reward before training; what does not fit in is left out
SLOW_ROW_S = 0.05  # the four completions of one row; a reward that takes longer is checked on that row alone

WORDS: dict[Level, str] = {"green": "PASS", "info": "INFO", "amber": "WARN", "red": "FAIL"}
"""What the JSON calls the levels. `FAIL`: a run with this reward is not worth starting."""


@dataclass(frozen=True)
class Checked:
    """A reward and all findings on it."""

    reward: str
    layout: str
    """How the checked completions were laid out; empty where the reward could not be called."""
    n_rows: int
    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        """Whether it keeps its contract."""
        return not self.failed

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "red"]

    def as_json(self) -> dict[str, Any]:
        """`{"reward", "holds", "layout", "n_rows", "findings": [{"name", "status", "found", "wanted", "remedy"}]}`."""
        about = {"reward": self.reward, "holds": self.holds, "layout": self.layout, "n_rows": self.n_rows}
        return about | {"findings": [finding.as_json(WORDS) for finding in self.findings]}


def check(subject: Subject) -> Checked:
    """Every check."""
    slow = (hostile.from_a_thread, hostile.speed, hostile.from_a_process)
    return _checked(subject, list(_findings(subject, (*CHECKS, *slow))))


def check_before_training(function: Callable[..., object], rows: Sequence[Row]) -> Checked:
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
        if finding.level == "red" or time.perf_counter() - started > BUDGET_S:
            break
    return _checked(subject, findings)


def refusal(checked: Checked) -> RewardError | None:
    """The one line that stops a run; None where the contract holds."""
    for finding in checked.failed:
        found = f"reward {checked.reward!r} fails its check {finding.name!r}: {finding.found}"
        return RewardError(found, finding.wanted, f"{finding.next_step}, or start anyway with --force")
    return None


def _findings(subject: Subject, checks: Sequence[Callable[[Subject], Iterator[Finding]]]) -> Iterator[Finding]:
    """What the checks find, one by one; only the structure's where that fails."""
    for finding in structure(subject):
        yield finding
        if finding.level == "red":
            return
    for each in checks:
        yield from each(subject)


def _checked(subject: Subject, findings: Sequence[Finding]) -> Checked:
    called = any(finding.name == SOUND for finding in findings)
    return Checked(subject.target.name, subject.layout if called else "", len(subject.rows), findings)
