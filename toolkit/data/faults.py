"""Rows that cannot be used: counted by the reason, with the first of each, and raised as one error or left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolkit.errors import DataError
from toolkit.units import plural


class Unusable(Exception):
    """Why one row cannot be used. `reason` is the kind, the same for every such row: `no gold answer`."""

    def __init__(self, reason: str, found: str = "", wanted: str = "", next_step: str = "") -> None:
        self.reason, self.found, self.wanted, self.next_step = reason, found or reason, wanted, next_step
        super().__init__(self.found)


@dataclass
class Faults:
    """The first row of each reason, with its place, and how many there are."""

    firsts: dict[str, tuple[str, Unusable]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, place: str, why: Unusable) -> None:
        self.firsts.setdefault(why.reason, (place, why))
        self.counts[why.reason] = self.counts.get(why.reason, 0) + 1

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    def refused(self, *, is_any_left: bool) -> DataError:
        """All of them as one error, whose first part is about the first row that was found."""
        (reason, (place, why)), *others = self.firsts.items()
        found = _placed(place, why)
        more = [f"{self.counts[reason]:,} rows like it"] if self.counts[reason] > 1 else []
        more += [f"{self._counted(other)}, the first: {_placed(at, first)}" for other, (at, first) in others]
        if more:
            found += f" ({'; '.join(more)})"
        go_on = ", or go on without: --drop_bad_rows" if is_any_left else ""
        return DataError(found, why.wanted, (why.next_step or "fix or remove the row") + go_on)

    def report(self) -> str:
        """One line of what was left out."""
        parts = [f"{self._counted(reason)} (first: {place})" for reason, (place, _) in self.firsts.items()]
        return f"{plural(self.n, 'row')} dropped: {'; '.join(parts)}"

    def _counted(self, reason: str) -> str:
        return f"{self.counts[reason]:,} with {reason}"


def _placed(place: str, why: Unusable) -> str:
    return why.found if why.found.startswith(place) else f"{place}: {why.found}"
