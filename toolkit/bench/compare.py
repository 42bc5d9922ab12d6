"""Two sweeps of the same cells: is the second one slower, or larger?"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.bench.store import Record
from toolkit.bench.tables import Row, is_busy, mixed_in, notes, rows_of
from toolkit.display.tables import Column, Table, number, words
from toolkit.errors import SettingsError

TOLERANCE = 0.01
"""Share by which counted work and what torch allocated may grow: equal settings and seed repeat both."""
RESIDENT_TOLERANCE = 0.05
"""Of a CPU process's resident peak: two runs of the same code differed by 2.4 %, twice that is no chance."""
TIME_TOLERANCE = 0.15
"""Share by which a time may grow: medians of the same code on a quiet machine differ by up to a tenth."""
FAR = 3
"""Times the tolerance from which on one run a side is enough to call a time worse."""
FIGURES = (
    *(("peak GiB", ("peak_gib", "process")), ("allocated GiB", ("peak_gib", "allocated"))),
    *(("tokens", ("n_tokens",)), ("passes", ("n_forward_passes",))),
)


@dataclass(frozen=True)
class Ratio:
    """The second over the first for one figure of one cell, between the least and the largest of a pair of repeats."""

    cell: Mapping[str, Any]
    """The settings in which the cells differ."""
    figure: str
    value: float
    low: float
    high: float
    tolerance: float
    is_judged: bool = True
    """False where chance is not known: a time of one run, or of a busy machine."""

    @property
    def is_regression(self) -> bool:
        """Beyond the tolerance, the whole interval included: a ratio that may be chance is none."""
        return self.is_judged and self.low > 1 + self.tolerance

    @property
    def verdict(self) -> str:
        """`worse`, `same`, `no worse`, or `cannot tell` where the interval has both sides of the tolerance."""
        if self.is_regression:
            return "worse"
        if not self.is_judged or self.high > 1 + self.tolerance:
            return "cannot tell"
        return "same" if self.value >= 1 else "no worse"


def compare(first: Sequence[Record], second: Sequence[Record]) -> list[Ratio]:
    """Ratios of step time, peak memory and counted work, for every cell that finished in both.

    Raises:
        SettingsError: they have no cell in common.
    """
    every = _pairs(first, second)
    if not any(other for _, other in every):
        raise SettingsError("the two have no cell in common", "two results of the same spec")
    pairs = [(one, other) for one, other in every if one.finished and other and other.finished]
    ratios = []
    for one, other in pairs:
        cell = {name: value for name, value in other.point.items() if name in _telling(pairs)}
        ratios += [_of_times(cell, one, other)]
        on_cpu = not one.values("peak_gib", "allocated") and one.values("peak_gib", "resident")
        for figure, path in FIGURES:
            tolerance = RESIDENT_TOLERANCE if on_cpu and path[0] == "peak_gib" else TOLERANCE
            ratios += [_of_repeats(cell, figure, one.values(*path), other.values(*path), tolerance)]
    return [ratio for ratio in ratios if ratio]


def table_of(ratios: Sequence[Ratio], *, on_screen: bool = False) -> Table:
    """A row a ratio; `on_screen`: headings may be folded."""
    names = list(ratios[0].cell) if ratios else []
    settings = [Column(name.replace("_", " "), is_words=True) if on_screen else name for name in names]
    table = Table([*settings, "figure", number("ratio"), number("interval"), words("verdict")])
    for r in ratios:
        values = (str(r.cell.get(name)) for name in names)
        table.add(*values, r.figure, f"{r.value:.3f}", f"{r.low:.3f} to {r.high:.3f}", r.verdict)
    return table


def lost(first: Sequence[Record], second: Sequence[Record]) -> list[str]:
    """What finished in the first and is not in the second: cells with how they ended, and figures, by name."""
    found = []
    for one, other in _pairs(first, second):
        told = ", ".join(f"{name} {value}" for name, value in one.point.items() if name not in ("engine", "model"))
        if not one.finished:
            continue
        if other is None:
            found.append(f"missing: {told}")
        elif not other.finished:
            found.append(": ".join(filter(None, (other.status, str(other.records[0]["why"]), told))))
        else:
            gone = [name for name, path in FIGURES if one.values(*path) and not other.values(*path)]
            found += [f"without {', '.join(gone)}: {told}"] if gone else []
    return found


def warnings(first: Sequence[Record], second: Sequence[Record]) -> list[str]:
    """Conditions in which the two differ, and that the machine was busy."""
    return notes([*first, *second])


def _pairs(first: Sequence[Record], second: Sequence[Record]) -> list[tuple[Row, Row | None]]:
    """Each cell of the first with that of the second; conditions count only where one of the two mixes them."""
    mixed = list(dict.fromkeys([*mixed_in(first), *mixed_in(second)]))
    found = {_key(row): row for row in rows_of(second, mixed)}
    return [(row, found.get(_key(row))) for row in rows_of(first, mixed)]


def _key(row: Row) -> str:
    return repr(sorted(row.point.items(), key=str))


def _telling(pairs: Sequence[tuple[Row, Row]]) -> set[str]:
    names = {name for _, row in pairs for name in row.point}
    return {name for name in names if len({repr(row.point.get(name)) for _, row in pairs}) > 1}


def _of_repeats(
    cell: Mapping[str, Any], figure: str, a: Sequence[float], b: Sequence[float], tolerance: float
) -> Ratio | None:
    """The ratio of the medians over the repeats, between the least and the largest that a pair of repeats gives."""
    if not a or not b or not min(a) > 0:
        return None
    value = statistics.median(b) / statistics.median(a)
    return Ratio(cell, figure, value, min(b) / max(a), max(b) / min(a), tolerance)


def _of_times(cell: Mapping[str, Any], one: Row, other: Row) -> Ratio | None:
    """The ratio of the repeats' median steps: the steps of one process say nothing of how processes differ."""
    a, b = one.values("step_s_median"), other.values("step_s_median")
    ratio = _of_repeats(cell, "s/step", a, b, TIME_TOLERANCE)
    if ratio is None:
        return None
    is_far = ratio.value > 1 + FAR * TIME_TOLERANCE
    is_quiet = not any(map(is_busy, [*one.finished, *other.finished]))
    return replace(ratio, is_judged=is_quiet and (min(len(a), len(b)) > 1 or is_far))
