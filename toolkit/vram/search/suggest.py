"""The nearest settings that fit: as little as possible of what costs most is given up.

The search starts with everything given up that can be (see `concessions`) and takes it back, the dearest first and each
as far as the plan still runs. So nothing is changed that need not be, and no length is shorter than it must be.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toolkit.vram.cards import Card
from toolkit.vram.plan import Plan, can_run, make_plan
from toolkit.vram.request import Request
from toolkit.vram.search.concessions import Concession, concessions
from toolkit.vram.search.growth import LENGTH_STEP
from toolkit.vram.shapes import Shape


@dataclass(frozen=True)
class Change:
    """Flags with their new values, and what they save at the peak in GiB on top of the changes before them.

    `saves_gib` is negative for a change that gives memory to vLLM's cache because it could not hold one sequence.
    """

    settings: dict[str, Any]
    saves_gib: float

    def __str__(self) -> str:
        return " ".join(f"--{flag}{_spelled(value)}" for flag, value in self.settings.items())


def nearest_that_fits(request: Request, shape: Shape, card: Card) -> tuple[Plan, list[Change]] | None:
    """The plan that runs (`can_run`) and the changes that lead to it, the cheapest first; None when there is none.

    No single change can be taken back. An empty list says that the request itself runs.
    """
    plan = make_plan(request, shape, card)
    if can_run(plan):
        return plan, []
    search = _Search(request, shape, card, concessions(request, card))
    found = [levels for start in search.starts() if (levels := search.take_back(start))]
    if not found:
        return None
    least = min(found, key=lambda levels: levels[::-1])  # the dearest concession decides
    changes = []
    for settings in search.lengthened(search.values(least)):
        changed = {flag: value for flag, value in settings.items() if getattr(plan.request, flag) != value}
        moved = make_plan(replace(plan.request, **changed), shape, card)
        changes.append(Change(changed, plan.peak_process_gib - moved.peak_process_gib))
        plan = moved
    return plan, changes


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "" if value else " false"
    return f" {value}"


@dataclass(frozen=True)
class _Search:
    """Levels say how much of each concession is made: at 0 it stays as asked, at n it takes its n-th value."""

    request: Request
    shape: Shape
    card: Card
    concessions: Sequence[Concession]
    known: dict[Request, bool] = field(default_factory=dict)
    """Which runs fit, as far as they were tried: the rounds of a search meet them again."""

    def starts(self) -> list[list[int]]:
        """Everything given up, with and without what may harm."""
        most = [(0, len(c.values)) if c.may_harm else (len(c.values),) for c in self.concessions]
        return [list(levels) for levels in itertools.product(*most)]

    def values(self, levels: Sequence[int]) -> list[dict[str, Any]]:
        """The settings of every concession that is made, the cheapest first."""
        return [c.values[level - 1] for c, level in zip(self.concessions, levels, strict=True) if level]

    def take_back(self, levels: list[int]) -> list[int] | None:
        """Lower the levels as far as it still runs, the dearest concession first; None when they do not run."""
        if not self._runs(levels, len(levels)):
            return None
        while True:
            before = levels
            for i in reversed(range(len(levels))):
                levels = _with(levels, i, self._lowest(levels, i))
            if levels == before:  # a second round for what is not monotone: vLLM's ranks, and its share
                return levels

    def _lowest(self, levels: list[int], i: int) -> int:
        def runs(level: int) -> bool:
            return self._runs(_with(levels, i, level), i)

        if not self.concessions[i].is_ordered:
            return next(level for level in range(levels[i] + 1) if runs(level))
        return 0 if runs(0) else bisect_left(range(levels[i]), True, lo=1, key=runs)

    def _runs(self, levels: list[int], i: int) -> bool:
        """Whether it runs with any value of what is not ordered and, cheaper than concession `i`, not yet settled."""
        tried = [
            range(level + 1) if k < i and not self.concessions[k].is_ordered else (level,)
            for k, level in enumerate(levels)
        ]
        return any(self._runs_with(self.values(chosen)) for chosen in itertools.product(*tried))

    def lengthened(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same settings with the length as long as still runs, where it was shortened.

        Two concessions shorten it, and what was taken back after the later one may have left room.
        """
        name = self.request.length_name
        about_length = [i for i, part in enumerate(parts) if name in part]
        if not about_length:
            return parts
        asked, tokens = self.request.length, parts[about_length[-1]][name]
        kept = [part for part in parts if name not in part]
        place = about_length[-1] - len(about_length) + 1

        def with_tokens(tokens: int) -> list[dict[str, Any]]:
            return [*kept[:place], {name: tokens}, *kept[place:]] if tokens < asked else kept

        while tokens < asked and self._runs_with(with_tokens(longer := min(asked, tokens + LENGTH_STEP))):
            tokens = longer
        return with_tokens(tokens)

    def _runs_with(self, parts: list[dict[str, Any]]) -> bool:
        settings = {flag: value for part in parts for flag, value in part.items()}
        run = replace(self.request, **settings)
        if run.generation == "hf" or run.engine_sets_its_share:  # where the share that is asked for has no effect
            run = replace(run, gpu_memory_utilization=self.request.gpu_memory_utilization)
        if run not in self.known:
            self.known[run] = can_run(make_plan(run, self.shape, self.card))
        return self.known[run]


def _with(levels: list[int], i: int, level: int) -> list[int]:
    return [*levels[:i], level, *levels[i + 1 :]]
