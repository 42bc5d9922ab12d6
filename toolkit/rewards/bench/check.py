"""Checks a reward against its contract: whole for `toolkit reward check`, in part before every training.

The checks here call the function in this process, on texts of ordinary length. Those that are about gold answers are in
`answer_contract`; threads, processes and huge texts are in `hostile`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.data.schema import Row
from toolkit.errors import RewardError
from toolkit.findings import Finding, Level
from toolkit.rewards.bench import answer_contract, hostile
from toolkit.rewards.bench.calling import (
    TOLERANCE,
    Heard,
    Sample,
    arguments,
    call,
    heard,
    is_conversational,
    name_of,
    reason,
    same,
)
from toolkit.rewards.bench.subject import GOLD, Subject
from toolkit.rewards.target import Target

N_ROWS_BEFORE_TRAINING = 16
BUDGET_S = 0.5  # of one reward before training; what does not fit in is left out
SLOW_ROW_S = 0.05  # the four completions of one row; a reward that takes longer is checked on that row alone

WORDS: dict[Level, str] = {"green": "PASS", "info": "INFO", "amber": "WARN", "red": "FAIL"}
"""What the JSON calls the levels. `FAIL`: a run with this reward is not worth starting."""
# None with half a character in it (a lone surrogate): no decoder produces one, and print and most logging raise on it
ODD_TEXTS = {
    "an empty text": "",
    "white space": " \n\t ",
    "control characters": "\x00\x07\x1b[31m",
    "emoji": "👩‍👩‍👧‍👦 = ❤️",
    "Arabic digits": "<answer>٣٤</answer> #### ٣٤ \\boxed{٣٤}",
    "superscripts": "<answer>²</answer> #### ² \\boxed{²}",
    "a fraction sign": "<answer>½</answer> #### ½ \\boxed{½}",
    "division by zero": "<answer>1/0</answer> #### 1/0 \\boxed{\\frac{1}{0}}",
    "a number of 5,000 digits": "<answer>{n}</answer> #### {n} \\boxed{{{n}}}".replace("{n}", "9" * 5000),
    "a power out of range": "<answer>1e999999</answer> #### 1e999999 \\boxed{10^{999999}}",
    "nan": "<answer>nan</answer> #### nan \\boxed{nan}",
    "inf": "<answer>-inf</answer> #### -inf \\boxed{-\\infty}",
    "blank answers": "<answer></answer>\n####\n\\boxed{}",
    "marks in the wrong order": "</answer>5<answer> }{ \\boxed{ ####",
}


def callable_on(subject: Subject) -> Iterator[Finding]:
    """Whether TRL can call it with what the rows have."""
    target, row = subject.target, subject.rows[0]
    missing = [column for column in target.columns if column not in row]
    if missing:
        known = ", ".join(name for name in row if name != "prompt") or "the prompt"
        next_step = f"rename or add the column; the gold answer comes as {GOLD!r}" if GOLD in row else "add the column"
        yield Finding("columns", "red", f"the dataset has no {missing[0]!r}", f"it beside {known}", next_step)
        return
    yield Finding("columns", "green", f"needs {', '.join(target.columns) or 'no column'}")
    refused = [name for name in arguments([Sample(row, "")]) if name not in target.takes]
    if refused and not target.takes_anything:
        found = f"takes no {', '.join(refused)}"
        yield Finding("arguments", "red", found, "whatever TRL passes", "end its parameters with **kwargs")


def structure(subject: Subject) -> Iterator[Finding]:
    """Whether it can be called at all, and gives scores; what fails here makes every other check pointless."""
    for finding in callable_on(subject):
        yield finding
        if finding.level == "red":
            return
    n = len(subject.probes)
    if problem := subject.first.problem:
        yield Finding(problem[0], "red", problem[1], *_NEXT_STEPS[problem[0]])
        return
    if all(score is None for score in subject.scores):
        next_step = "fix what it judges by: gold answers, a server, a model"
        why = reason(subject.target.declared, subject.probes[0])
        found = f"all {n} completions score None" + (f": {why}" if why else "")
        yield Finding("judged", "red", found, "scores", next_step)
        return
    yield Finding("scores", "green", f"{n} finite scores or None for {n} completions")


_NEXT_STEPS = {
    "call": ("scores for any completion", "fix the function; toolkit reward try shows it on single completions"),
    "length": ("one score a completion", "return a list as long as `completions`"),
    "types": ("a list of floats and None", "return [float, ...]; None where a completion cannot be judged"),
    "finite": ("finite scores", "return None where a completion cannot be judged"),
}


def bounds(subject: Subject) -> Iterator[Finding]:
    """Every score lies in the declared range."""
    if subject.target.range is None:
        return
    low, high = subject.target.range
    outside = [s for s in subject.scores if s is not None and not low - TOLERANCE <= s <= high + TOLERANCE]
    if outside:
        yield Finding("range", "red", f"scores {outside[0]:g}", f"{low:g} to {high:g}, as declared", "fix the range")
    else:
        yield Finding("range", "green", f"inside {low:g} to {high:g}")


def same_again(subject: Subject) -> Iterator[Finding]:
    """The same inputs give the same scores, in any order and beside any others, and are not changed."""
    given, untouched = arguments(subject.probes), arguments(subject.probes)
    again = call(subject.target.function, given)
    changed = [name for name in given if name != "trainer_state" and given[name] != untouched[name]]
    if changed:
        yield Finding("inputs", "red", f"changes {', '.join(changed)}", "inputs left alone", "copy before changing")
    if again.fault:
        next_step = "keep nothing from one call to the next"
        yield Finding("repeatable", "red", f"a second call {again.fault}", "as many scores as completions", next_step)
        return
    if not same(again.scores, subject.scores):
        next_step = "no random part, and nothing kept from call to call; a model that judges: cache"
        yield Finding("repeatable", "amber", "two calls give different scores", "the same", next_step)
        return
    yield Finding("repeatable", "green", "two calls give the same scores, and leave their inputs alone")
    if not same(subject.score(subject.probes[::-1]).scores[::-1], subject.scores):
        next_step = "judge each completion by itself and its columns, not by its place"
        yield Finding("order", "amber", "scores depend on the order of the batch", "the same in any order", next_step)
        return
    if subject.needs_its_place or not same(subject.score(subject.probes[:4]).scores, subject.scores[:4]):
        found = "scores of one prompt depend on the other prompts of the batch"
        next_step = "compare completions of the same prompt only"
        yield Finding("order", "amber", found, "on its own group at most", next_step)
        return
    yield Finding("order", "green", "scores depend neither on the order nor on the rest of the batch")


def both_shapes(subject: Subject) -> Iterator[Finding]:
    """Plain text and messages score alike; a run uses the shape that its prompts have."""
    if not subject.repeats:
        return
    other = not is_conversational(subject.rows[0])
    outcome = subject.score(subject.probes, messages=other)
    if same(outcome.scores, subject.scores):
        yield Finding("shapes", "green", "plain text and messages score alike")
        return
    found = f"completions as {'messages' if other else 'plain text'}: {outcome.fault or 'other scores'}"
    next_step = "read completion[0]['content'] of a list, and a string as it is"
    yield Finding("shapes", "amber", found, "the same scores for both shapes", next_step)


def odd_texts(subject: Subject) -> Iterator[Finding]:
    """No completion raises: one odd text would end the run."""
    for name, text in ODD_TEXTS.items():
        if fault := subject.score([Sample(subject.rows[0], text)]).fault:
            next_step = "a model writes anything: catch it, score low"
            yield Finding("odd_texts", "red", f"{name}: {fault}", "a score for any text", next_step)
            return
    found = f"{len(ODD_TEXTS)} odd texts are scored: blank, unicode, nan, 1/0, 5,000 digits"
    yield Finding("odd_texts", "green", found)


def signal(subject: Subject) -> Iterator[Finding]:
    """Not everything scores the same; only what judges style alone, by its declaration, may score these texts alike."""
    declared = subject.target.declared
    if declared is not None and not declared.best_layouts and not subject.takes_gold:
        return
    if len(set(subject.scores)) == 1:  # all None is found by `structure`
        found = f"right, wrong, blank and long completions all score {subject.scores[0]:g}"
        next_step = "see that it pays what it should: toolkit reward check --layout TEXT"
        yield Finding("signal", "amber", found, "differences, which are what GRPO learns from", next_step)


CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    bounds,
    answer_contract.right_answer,
    answer_contract.prompted,
    answer_contract.wrong_answer,
    answer_contract.unreadable_gold,
    same_again,
    odd_texts,
    answer_contract.spelling,
    answer_contract.missing_column,
    both_shapes,
    signal,
)
"""After `structure`, the most important first."""


@dataclass(frozen=True)
class Checked:
    reward: str
    layout: str
    """How the checked completions were laid out; empty where the reward could not be called."""
    n_rows: int
    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "red"]

    def as_json(self) -> dict[str, Any]:
        """`{"reward", "holds", "layout", "n_rows", "findings": [{"name", "status", "found", "wanted", "remedy"}]}`."""
        about = {"reward": self.reward, "holds": self.holds, "layout": self.layout, "n_rows": self.n_rows}
        return about | {"findings": [finding.as_json(WORDS) for finding in self.findings]}


def check(subject: Subject) -> Checked:
    slow = (hostile.from_a_thread, hostile.speed, hostile.from_a_process)
    with heard() as printed:
        findings = list(_findings(subject, (*CHECKS, *slow)))
    return _checked(subject, findings, printed)


def check_before_training(function: Callable[..., object], rows: Sequence[Row]) -> Checked:
    """The checks of a function on a run's first rows: all that half a second allows, a failure last if there is one.

    A slow reward, such as a model's, is asked about four completions and little more. Threads and processes are left
    out: TRL calls rewards in its own main thread.
    """
    target = Target(name_of(function), function)
    findings = []
    with heard() as printed:
        subject = Subject(target, rows[:1], layouts_budget_s=BUDGET_S)
        if subject.first.wall_s < SLOW_ROW_S:
            subject = Subject(target, rows[:N_ROWS_BEFORE_TRAINING], layouts_budget_s=BUDGET_S)
        started = time.perf_counter()
        for finding in _findings(subject, CHECKS):
            findings.append(finding)
            if finding.level == "red" or time.perf_counter() - started > BUDGET_S:
                break
    return _checked(subject, findings, printed)


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


def _checked(subject: Subject, findings: list[Finding], printed: Heard) -> Checked:
    called = any(finding.name == "scores" for finding in findings)
    if printed.n_lines:
        findings.append(Finding("prints", "info", str(printed)))
    return Checked(subject.target.name, subject.layout if called else "", len(subject.rows), findings)
