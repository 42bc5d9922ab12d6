"""Runs the battery against a reward: what earns more than an honest wrong answer?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from toolkit.errors import RewardError
from toolkit.rewards.bench.battery import BATTERY, Case, Exploit
from toolkit.rewards.bench.calling import TOLERANCE, Sample, reason
from toolkit.rewards.bench.check import callable_on
from toolkit.rewards.bench.layouts import layout_name
from toolkit.rewards.bench.subject import Subject
from toolkit.rewards.completions import prompt_text
from toolkit.rewards.rubric import Rubric

LUCK = 0.1
"""Share of rows up to which a gain is chance: a number echoed from the question is now and then the answer."""
NOISE = 0.08
"""Share of `Subject.span` up to which a gain is no more than another wording."""


@dataclass(frozen=True)
class Result:
    """What one exploit earns, by its best strategy."""

    exploit: Exploit
    layout: str
    """How the answers were laid out; the same for all exploits."""
    gain: float
    """Its score less that of the better honest wrong answer beside it, mean over the rows."""
    honest: float | None
    """Mean score of that answer."""
    rows_frac: float
    """Share of the rows in which it earns more."""
    unjudged_frac: float
    """Share of the rows in which it scores None where the wrong answer does not: a way out of judgement."""
    example: str
    error: str
    known: bool
    """The reward names it."""
    works: bool


@dataclass(frozen=True)
class _Gains:
    gains: list[float | None]
    honest: list[float | None]
    example: str
    error: str = ""


def attack(subject: Subject) -> list[Result]:
    """Every exploit of the battery, in its order; those that need gold answers only where the rows have them.

    Raises:
        RewardError: the reward fails on honest answers, or pays none of them, so that to survive would mean nothing.
    """
    subject = _judged(subject)
    cases = _cases(subject)
    wanted = [exploit for exploit in BATTERY if subject.has_golds or not exploit.hedges]
    return [_result(subject, exploit, cases) for exploit in wanted if exploit.strategies(cases[0])]


def _judged(subject: Subject) -> Subject:
    """The subject in a layout that the reward reads; a RewardError where it judges nothing that is tried."""
    name, declared = subject.target.name, subject.target.declared
    for finding in callable_on(subject):
        if finding.level == "red":
            raise RewardError(f"reward {name!r}: {finding.found}", finding.wanted, finding.next_step)
    honest = [*subject.rendered(subject.golds), *subject.rendered(subject.mistakes)]
    outcome = subject.score(honest)
    if outcome.fault:
        next_step = f"toolkit reward check {name} says more"
        raise RewardError(f"reward {name!r}: {outcome.fault}", "scores for honest answers", next_step)
    if all(score is None for score in outcome.scores):
        why = reason(declared, honest[0]) or "see what it judges by"
        raise RewardError(f"reward {name!r} scores None for every honest answer", "scores", why)
    if declared is not None and not subject.takes_gold:
        return subject
    if subject.takes_gold and subject.has_golds:
        if subject.tried(subject.layout).separates or (subject.pays_right and not subject.needs_its_place):
            return subject
        if subject.others:
            return replace(subject, given_layout=subject.others[0])
        found = "right and wrong answers alike"
    elif subject.pays_anything:
        return subject
    else:
        found = f"every completion {outcome.scores[0]:g}"
    layouts = ", ".join(map(layout_name, subject.tried_layouts))
    next_step = "give one that it reads: --layout '<SOLUTION>{answer}</SOLUTION>', with {reasoning} where it may stand"
    wanted = "a layout in which a right answer is paid"
    raise RewardError(f"reward {name!r} scores {found} in the layouts tried ({layouts})", wanted, next_step)


def _cases(subject: Subject) -> list[Case]:
    declared = subject.target.declared
    phrases: tuple[str, ...] = ()
    if isinstance(declared, Rubric):
        phrases = tuple(element.any_of[0] for element in declared.required.elements)
    rows = zip(subject.rows, subject.golds, subject.mistakes, strict=True)
    return [
        Case(prompt_text(row["prompt"]), gold if subject.has_golds else None, wrong, subject.layout, phrases)
        for row, gold, wrong in rows
    ]


def _result(subject: Subject, exploit: Exploit, cases: Sequence[Case]) -> Result:
    tried, controls = (list(zip(*map(write, cases), strict=True)) for write in (exploit.strategies, exploit.controls))
    results = []
    for strategy, control in zip(tried, controls, strict=True):
        positions = zip(zip(*strategy, strict=True), zip(*control, strict=True), strict=True)
        worst = _worst([_gains(subject, cases, texts, beside) for texts, beside in positions])
        results.append(_summed(subject, exploit, worst))
    return max(results, key=lambda result: (bool(result.error), result.works, result.gain))


def _gains(subject: Subject, cases: Sequence[Case], texts: Sequence[str], controls: Sequence[str]) -> _Gains:
    """One call with a group for each row: an honest wrong answer, the exploit's control, and the exploit.

    The rows of a group lie side by side as TRL lays them out, and no two neighbouring rows have the same prompt.
    """
    samples = [
        Sample(row, written)
        for row, case, control, text in zip(subject.rows, cases, controls, texts, strict=True)
        for written in (case.honest(), control, text)
    ]
    outcome = subject.score(samples)
    if outcome.fault:
        return _Gains([], [], texts[0], outcome.fault)
    scores = outcome.scores
    judged = ([score for score in scores[i : i + 2] if score is not None] for i in range(0, len(scores), 3))
    honest = [max(pair, default=None) for pair in judged]
    gains = [None if h is None or t is None else t - h for h, t in zip(honest, scores[2::3], strict=True)]
    return _Gains(gains, honest, texts[0])


def _worst(positions: Sequence[_Gains]) -> _Gains:
    """A hedge earns what it earns in its worst position, row by row; an error in any of them counts."""
    if broken := [position for position in positions if position.error]:
        return broken[0]
    by_row = zip(*(position.gains for position in positions), strict=True)
    gains = [None if None in row else min(gain for gain in row if gain is not None) for row in by_row]
    return _Gains(gains, positions[0].honest, positions[0].example)


def _summed(subject: Subject, exploit: Exploit, found: _Gains) -> Result:
    judged = [gain for gain in found.gains if gain is not None]
    honest = [h for h in found.honest if h is not None]
    n_left_out = sum(gain is None and h is not None for gain, h in zip(found.gains, found.honest, strict=True))
    gain = fmean(judged) if judged else 0.0
    rows_frac = sum(gain > TOLERANCE for gain in judged) / len(judged) if judged else 0.0
    unjudged_frac = n_left_out / len(honest) if honest else 0.0
    pays = rows_frac > LUCK and gain > max(TOLERANCE, NOISE * subject.span)
    return Result(
        exploit,
        subject.layout,
        gain,
        honest=fmean(honest) if honest else None,
        rows_frac=rows_frac,
        unjudged_frac=unjudged_frac,
        example=found.example,
        error=found.error,
        known=exploit.name in getattr(subject.target.declared, "known_exploits", ()),
        works=pays or unjudged_frac > LUCK,
    )


def as_json(reward: str, results: Sequence[Result]) -> dict[str, Any]:
    """`{"reward", "layout", "exploits": [{"name", "works", "known", "gain", ...}]}`, attributes of `Result`."""
    names = ("works", "known", "gain", "honest", "rows_frac", "unjudged_frac", "example", "error")
    exploits = [{"name": r.exploit.name} | {name: getattr(r, name) for name in names} for r in results]
    return {"reward": reward, "layout": results[0].layout if results else "", "exploits": exploits}
