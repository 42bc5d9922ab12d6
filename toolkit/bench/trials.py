"""What a search for the fastest settings tried: its trials side by side, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from toolkit.bench.spec import Cell
from toolkit.display.tables import Table, number, words

REWARD_SHARE = 0.05
"""Share of its spread by which a reward may fall short of the start's: chance alone moves the mean of some hundred
completions by as much. Rewards around zero have no share of their own, so it is at least of 1."""


@dataclass(frozen=True)
class Trial:
    """One point, measured or not."""

    changed: Mapping[str, Any]
    """The settings that are searched, with their values here."""
    status: str
    """As a cell's, or `not measured`."""
    why: str = ""
    completions_per_s: float = 0.0
    """Completions trained on in a second, the warm-up left out; 0 where it did not run to its end."""
    reward: float | None = None
    peak_gib: float | None = None
    pass_at_1: float | None = None
    """After a run of full length; a probe has too few problems for it."""
    cell: str = ""
    """Id of its record."""

    @property
    def is_measured(self) -> bool:
        return bool(self.cell)

    def told(self, start: Trial) -> str:
        """What is not as it was at the start, in one line."""
        others = [f"{name}={value}" for name, value in self.changed.items() if value != start.changed[name]]
        return " ".join(others) or "start"


@dataclass(frozen=True)
class Search:
    """What a search found."""

    trials: Sequence[Trial]
    best: Trial
    cell: Cell
    """The best one's, with the full number of steps."""
    confirmed: Sequence[tuple[Trial, Trial]]
    """Start and best again in long runs, in pairs."""
    about: Mapping[str, Any]
    """What else decided the figures, as the cells' records have it."""

    @property
    def start(self) -> Trial:
        return self.trials[0]

    def as_json(self) -> dict[str, Any]:
        """Every trial, and what came of it."""
        pairs = [{"start": asdict(start), "best": asdict(best)} for start, best in self.confirmed]
        return {
            "about": dict(self.about),
            "start": asdict(self.start),
            "best": asdict(self.best),
            "times_as_fast": ratio(self.start, self.best),
            "confirmed": pairs,
            "confirmed_times_as_fast": self.confirmed_ratio,
            "trials": list(map(asdict, self.trials)),
        }

    @property
    def confirmed_ratio(self) -> float | None:
        """The median over the pairs of long runs; None where there are none, or one did not finish."""
        ratios = [found for start, best in self.confirmed if (found := ratio(start, best)) is not None]
        return round(statistics.median(ratios), 3) if ratios and len(ratios) == len(self.confirmed) else None


def ratio(start: Trial, best: Trial) -> float | None:
    """How many times as fast; None where the start, or the best, did not finish."""
    if not start.completions_per_s or not best.completions_per_s:
        return None
    return round(best.completions_per_s / start.completions_per_s, 3)


def fair(trial: Trial, start: Trial) -> Trial:
    """The trial, at no speed where it earns less than the start beyond chance."""
    if trial.reward is None or start.reward is None:
        return trial
    least = start.reward - REWARD_SHARE * max(1.0, abs(start.reward))
    if trial.reward >= least:
        return trial
    why = f"reward {trial.reward:.2f}, and the start had {start.reward:.2f}"
    return replace(trial, status="lower reward", why=why, completions_per_s=0.0)


def figures(trial: Trial) -> str:
    if not trial.completions_per_s:
        return f"{trial.status.replace('_', ' ')}: {trial.why}"
    reward = "" if trial.reward is None else f", reward {trial.reward:.2f}"
    return f"{trial.completions_per_s:,.1f} completions/s{reward}"


def table_of(search: Search) -> Table:
    """A row a trial, the fastest first."""
    names = (number("completions/s"), number("times"), number("reward"), number("peak GiB"))
    table = Table([words("not as at the start"), *names, "status"])
    for trial in sorted(search.trials, key=lambda trial: -trial.completions_per_s):
        values = (trial.completions_per_s or None, ratio(search.start, trial), trial.reward, trial.peak_gib)
        told = [("-" if value is None else f"{value:,.2f}") for value in values]
        table.add(trial.told(search.start), *told, trial.status.replace("_", " "))
    return table
