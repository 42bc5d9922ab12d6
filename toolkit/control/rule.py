"""What a health rule is made of. The rules themselves are in `control.rules`, as data."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.findings import Level


@dataclass(frozen=True)
class Limit:
    """Where a level begins and ends, with hysteresis, so that a signal about a limit does not switch it on and off.

    It trips after `trip` observations in a row beyond `value`, and is released after `dwell` in a row that are at
    `release` or better. An observation is a row of metrics that has the signal: a step that reuses the completions of
    an earlier one is none.
    """

    value: float
    release: float
    source: str
    """Where the figure comes from: a link, or what was measured."""
    trip: int = 1
    dwell: int = 3


@dataclass(frozen=True)
class Cause:
    """A probable cause, named where `signal` is at least `at_least`: what it is, and which setting to change."""

    signal: str
    at_least: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing to watch. Texts may name the facts of `control.signals.facts` and `{value}`, the signal, in braces."""

    id: str
    """`R01` to `R25` as in the table of published failures that they come from; further ones follow it."""
    name: str
    signal: str
    """A name of `control.signals.SIGNALS`."""
    amber: Limit | None = None
    red: Limit | None = None
    found: str
    wanted: str
    means: str
    """What it says about the run, in a sentence."""
    change: str
    """What to do, with the settings by their names; a `causes` that holds goes before it."""
    causes: tuple[Cause, ...] = ()
    under: tuple[str, ...] = ()
    """Ids of rules that say the same and more: while one of them is as bad, a console hears nothing of this one."""
    is_below: bool = False
    """Whether lower is worse."""

    def level(self, value: float) -> Level:
        """The level of a single observation, hysteresis left out; NaN is green."""
        sign = -1.0 if self.is_below else 1.0
        if self.red and sign * value > sign * self.red.value:
            return "red"
        return "amber" if self.amber and sign * value > sign * self.amber.value else "green"
