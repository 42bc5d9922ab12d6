"""The state machine: fed rows of metrics, it says which rules trip, since when, and what to do about it.

`Health().feed(row)` takes what metrics.jsonl or a trainer_state.json's log_history holds, in order, and never raises
on what a row holds.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from toolkit.control.history import WINDOW, Context, History
from toolkit.control.rule import Limit, Rule
from toolkit.control.rules import RULES
from toolkit.control.signals import SIGNALS, facts
from toolkit.control.signals.behaviour import HELD_OUT_GROWTH, HELD_OUT_HIGH, HELD_OUT_LOW
from toolkit.findings import LEVELS, Finding, Level, worst
from toolkit.runs import metrics

LOSS_NEAR_0 = 1e-3
LOSS_NOTE = (
    "the loss is about 0 by construction at beta 0 and num_iterations 1, since the advantages of a group sum to 0: "
    "watch reward and grad_norm instead"
)


@dataclass
class Verdict:
    """One rule, from where it tripped to where it was released; or green, over all steps that were judged."""

    rule: Rule
    level: Level
    """The worst that it was."""
    first_step: int
    last_step: int
    """The last step that was judged while it stood."""
    found: str
    """As it was when this level was reached."""
    next_step: str = ""
    stands: bool = True
    """Whether it had not been released by the last row."""
    now: Level = "green"
    """The level at the last step that was judged; a red one may have become amber."""

    NOTHING: ClassVar[str] = "nothing found"

    @property
    def finding(self) -> Finding:
        wanted = "" if self.level == "green" else self.rule.wanted
        return Finding(f"{self.rule.id} {self.rule.name}", self.level, self.found, wanted, self.next_step)

    def when(self) -> str:
        """`step 3`, `steps 3 to 7`, `from step 3 on`."""
        if self.stands and self.last_step > self.first_step:
            return f"from step {self.first_step} on"
        one = self.first_step == self.last_step
        return f"step {self.first_step}" if one else f"steps {self.first_step} to {self.last_step}"

    def line(self) -> str:
        """One line for a console: that it tripped, or that it is over."""
        if not self.stands:
            return f"health: {self.rule.id} {self.rule.name} is over ({self.when()})"
        return f"health {self.level}, step {self.last_step}, {self.rule.id} {self.rule.name}: {self.finding}"

    def as_json(self) -> dict[str, Any]:
        """`{"rule", "name", "level", "first_step", "last_step", "stands", "found", "wanted", "next", ...}`.

        Beside these `means`, a sentence on what it says of the run, and `source`, where the limit comes from.
        """
        limit = {"red": self.rule.red, "amber": self.rule.amber}.get(self.level) or self.rule.red or self.rule.amber
        return {
            "rule": self.rule.id,
            "name": self.rule.name,
            "level": self.level,
            "first_step": self.first_step,
            "last_step": self.last_step,
            "stands": self.stands,
            "found": self.found,
            "wanted": self.rule.wanted,
            "next": self.next_step,
            "means": self.rule.means,
            "source": limit.source if limit else "",
        }


class Latch:
    """One limit of a rule with its hysteresis; see `Limit`."""

    def __init__(self, limit: Limit, is_below: bool) -> None:
        self._limit, self._is_below = limit, is_below
        self.n_beyond = self._n_back = 0
        self.is_on = False

    def see(self, value: float) -> bool:
        """Take in an observation, and say whether the limit is exceeded, hysteresis included."""
        sign = -1.0 if self._is_below else 1.0
        is_beyond, is_back = sign * value > sign * self._limit.value, sign * value <= sign * self._limit.release
        self.n_beyond = self.n_beyond + 1 if is_beyond else 0
        self._n_back = self._n_back + 1 if is_back else 0
        if self.n_beyond >= self._limit.trip:
            self.is_on = True
        elif self._n_back >= self._limit.dwell:
            self.is_on = False
        return self.is_on


@dataclass
class Watched:
    """A rule and where it stands."""

    rule: Rule
    latches: dict[Level, Latch]
    first_step: int | None = None
    last_step: int = 0
    verdict: Verdict | None = None
    """What stands now."""
    past: list[Verdict] = field(default_factory=list)

    def level_at(self, value: float) -> Level:
        levels: list[Level] = [level for level, latch in self.latches.items() if latch.see(value)]
        return worst(levels)


class Health:
    """The rules over one run. `context` brings what the rows do not say."""

    def __init__(self, context: Context | None = None, rules: Sequence[Rule] = RULES) -> None:
        self.history = History(context)
        self._watched = [Watched(rule, _latches(rule)) for rule in rules]

    def feed(self, row: Mapping[str, Any]) -> list[Verdict]:
        """Judge one more row; return the verdicts that came, grew worse, or are over (`stands` is False)."""
        self.history.add(row)
        changed = [self._judge(watched) for watched in self._watched]
        return [verdict for verdict in changed if verdict is not None]

    def _judge(self, watched: Watched) -> Verdict | None:
        value = SIGNALS[watched.rule.signal](self.history)
        if value is None:
            return None
        step, before = self.history.step, watched.verdict
        watched.first_step = step if watched.first_step is None else watched.first_step
        watched.last_step = step
        level = watched.level_at(value)
        if level == "green":
            if before is not None:
                before.stands, watched.verdict = False, None
            return before
        if before is not None and worst((level, before.level)) == before.level:
            before.last_step, before.now = step, level
            return None
        found, following = self._texts(watched, value, level)
        if before is None:
            watched.verdict = Verdict(watched.rule, level, step, step, found, following, now=level)
            watched.past.append(watched.verdict)
            return watched.verdict
        before.level = before.now = level
        before.last_step, before.found, before.next_step = step, found, following
        return before

    def _texts(self, watched: Watched, value: float, level: Level) -> tuple[str, str]:
        """What was found, and what to do about it."""
        rule = watched.rule
        named = {"value": value, "observations": watched.latches[level].n_beyond, **facts(self.history)}
        for cause in rule.causes:
            strength = SIGNALS[cause.signal](self.history)
            if strength is not None and strength >= cause.at_least:
                return _filled(rule.found, named), _filled(f"probably {cause.text}", named)
        return _filled(rule.found, named), _filled(rule.change, named)

    @property
    def standing(self) -> list[Verdict]:
        """What is amber or red now, the worst and newest first."""
        now = [watched.verdict for watched in self._watched if watched.verdict is not None]
        return sorted(now, key=lambda verdict: (verdict.now != "red", -verdict.first_step))

    def is_worth_saying(self, verdict: Verdict) -> bool:
        """Whether no verdict that stands says the same and more."""
        above: list[Level] = [other.now for other in self.standing if other.rule.id in verdict.rule.under]
        return LEVELS.index(verdict.level) > LEVELS.index(worst(above))

    def tripped(self) -> list[Verdict]:
        """Every amber and red verdict of the run, red first, each group in the order of steps."""
        every = [verdict for watched in self._watched for verdict in watched.past]
        return sorted(every, key=lambda verdict: (verdict.level != "red", verdict.first_step))

    def verdicts(self) -> list[Verdict]:
        """`tripped`, then each rule that was judged and never tripped, as green."""
        return self.tripped() + [
            Verdict(watched.rule, "green", watched.first_step, watched.last_step, self._calm(watched.rule))
            for watched in self._watched
            if watched.first_step is not None and not watched.past
        ]

    def _calm(self, rule: Rule) -> str:
        loss, norm = self.history.series.get(metrics.LOSS), self.history.series.get(metrics.GRAD_NORM)
        if rule.signal != "zero_gradient" or loss is None or norm is None or norm.high <= 0:
            return Verdict.NOTHING
        is_near_0 = max(map(abs, loss.last[-WINDOW:])) < LOSS_NEAR_0
        return f"the gradient is not 0; {LOSS_NOTE}" if is_near_0 else Verdict.NOTHING

    @property
    def not_judged(self) -> list[str]:
        """Ids of the rules whose signal no row had."""
        return [watched.rule.id for watched in self._watched if watched.first_step is None]

    def row(self) -> dict[str, Any]:
        """What metrics.jsonl keeps of the newest row's verdicts."""
        ids = {level: [v.rule.id for v in self.standing if v.now == level] for level in ("amber", "red")}
        number = 2.0 if ids["red"] else 1.0 if ids["amber"] else 0.0
        return {metrics.HEALTH_LEVEL: number, metrics.HEALTH_AMBER: ids["amber"], metrics.HEALTH_RED: ids["red"]}

    def as_json(self, verdicts: Iterable[Verdict] | None = None) -> dict[str, Any]:
        """`{"level", "verdicts", "not_judged"}`; the level is the worst of the run. Without verdicts: all of them."""
        listed = self.verdicts() if verdicts is None else list(verdicts)
        return {
            "level": worst(verdict.level for verdict in listed),
            "verdicts": [verdict.as_json() for verdict in listed],
            "not_judged": self.not_judged,
        }


def held_out_row(summary: Mapping[str, Any]) -> dict[str, float]:
    """A row for `feed` of what a summary.json says of accuracy before and after; empty where it does not say it."""
    try:
        low, high = (float(bound) for bound in summary["difference"]["interval"])
        growth = float(summary["after"]["mean_tokens"]) / float(summary["before"]["mean_tokens"]) - 1
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return {}
    return {HELD_OUT_LOW: low, HELD_OUT_HIGH: high, HELD_OUT_GROWTH: growth}


def _latches(rule: Rule) -> dict[Level, Latch]:
    limits: dict[Level, Limit | None] = {"amber": rule.amber, "red": rule.red}
    return {level: Latch(limit, rule.is_below) for level, limit in limits.items() if limit is not None}


def _filled(text: str, named: Mapping[str, Any]) -> str:
    return string.Formatter().vformat(text, (), named)
