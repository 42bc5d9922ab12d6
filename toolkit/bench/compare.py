"""Two sweeps of the same cells: is the second one slower, or larger?"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.bench.store import Record
from toolkit.bench.tables import Row, rows_of
from toolkit.display.tables import Column, Table, number
from toolkit.errors import SettingsError

MEMORY_TOLERANCE = 0.01
"""Share by which a peak and the counted work may grow. torch's allocator repeats a peak to the block; equal settings
and seed repeat the work. Without a card a peak is resident memory, of which runs of the same code differ by up to a
hundredth (`baselines/embedded_engines.jsonl`): with repeats the interval knows that, without them it may not."""
FIGURES = (("peak GiB", ("peak_gib", "process")), ("tokens", ("n_tokens",)), ("passes", ("n_forward_passes",)))
TIME_TOLERANCE = 0.15
"""Share by which a time may grow: medians of the same code on a quiet machine differ by up to a tenth."""
N_RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """The second over the first for one figure of one cell, with its interval: 95 % for times, else all repeats'."""

    cell: Mapping[str, Any]
    """The settings in which the cells differ."""
    figure: str
    value: float
    low: float
    high: float
    tolerance: float

    @property
    def is_regression(self) -> bool:
        """Beyond the tolerance, the whole interval included: a ratio that may be chance is none."""
        return self.low > 1 + self.tolerance


def compare(first: Sequence[Record], second: Sequence[Record]) -> list[Ratio]:
    """Ratios of step time, peak memory and counted work, for every cell that finished in both.

    Raises:
        SettingsError: they have no cell in common.
    """
    before = {_key(row): row for row in rows_of(first) if row.finished}
    pairs = [(before[_key(row)], row) for row in rows_of(second) if row.finished and _key(row) in before]
    if not pairs:
        raise SettingsError("the two have no finished cell in common", "two results of the same spec")
    ratios = []
    for one, other in pairs:
        cell = {name: value for name, value in other.point.items() if name in _telling(pairs)}
        ratios.append(_of_times(cell, one, other))
        for figure, path in FIGURES:
            ratio = _of_repeats(cell, figure, one.values(*path), other.values(*path))
            ratios += [ratio] if ratio else []
    return ratios


def table_of(ratios: Sequence[Ratio], *, on_screen: bool = False) -> Table:
    """A row a ratio; `on_screen`: headings may be folded."""
    names = list(ratios[0].cell)
    settings = [Column(name.replace("_", " "), is_words=True) if on_screen else name for name in names]
    table = Table([*settings, "figure", number("ratio"), number("interval"), "verdict"])
    for r in ratios:
        is_same = r.low <= 1 + r.tolerance and r.value >= 1
        verdict = "worse" if r.is_regression else "same" if is_same else "no worse"
        values = (str(r.cell.get(name)) for name in names)
        table.add(*values, r.figure, f"{r.value:.3f}", f"{r.low:.3f} to {r.high:.3f}", verdict)
    return table


def lost(first: Sequence[Record], second: Sequence[Record]) -> list[str]:
    """Cells that finished in the first and ended otherwise in the second, with the reason."""
    before = {_key(row) for row in rows_of(first) if row.finished}
    return [
        f"{row.status}: {row.records[0]['why']}" for row in rows_of(second) if _key(row) in before and not row.finished
    ]


def _key(row: Row) -> str:
    return repr(sorted(row.point.items(), key=str))


def _telling(pairs: Sequence[tuple[Row, Row]]) -> set[str]:
    names = {name for _, row in pairs for name in row.point}
    return {name for name in names if len({repr(row.point.get(name)) for _, row in pairs}) > 1}


def _of_repeats(cell: Mapping[str, Any], figure: str, a: Sequence[float], b: Sequence[float]) -> Ratio | None:
    """The ratio of the medians over the repeats, between the least and the largest that a pair of repeats gives."""
    if not a or not b or not min(a) > 0:
        return None
    value = statistics.median(b) / statistics.median(a)
    return Ratio(cell, figure, value, min(b) / max(a), max(b) / min(a), MEMORY_TOLERANCE)


def _of_times(cell: Mapping[str, Any], one: Row, other: Row) -> Ratio:
    """The ratio of the medians of all steps, with a bootstrap over the steps of each (Efron 1979)."""
    a, b = (
        [s for record in row.finished for s in record["measured"]["step_s"] if s and math.isfinite(s)]
        for row in (one, other)
    )
    draw = random.Random(0)
    drawn = sorted(
        statistics.median(draw.choices(b, k=len(b))) / statistics.median(draw.choices(a, k=len(a)))
        for _ in range(N_RESAMPLES)
    )
    low, high = drawn[int(0.025 * N_RESAMPLES)], drawn[int(0.975 * N_RESAMPLES)]
    return Ratio(cell, "s/step", statistics.median(b) / statistics.median(a), low, high, TIME_TOLERANCE)
