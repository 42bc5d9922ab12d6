"""The charts of training: each metric over the steps, thinned where a run has more steps than a chart has pixels."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from toolkit.display import charts
from toolkit.display.charts import Series
from toolkit.runs import metrics
from toolkit.runs.record import Record

MOST_POINTS = 300
STEP = "step"
SHORTEST = "completions/min_length"
PHASES = {
    "rollout": metrics.ROLLOUT_S,
    "reward": metrics.REWARD_S,
    "update": metrics.UPDATE_S,
    "parity check": metrics.PARITY_S,
}
Column = list[float | None]


@dataclass(frozen=True)
class Chart:
    """Lines that share their axes."""

    title: str
    lines: Sequence[Series]
    unit: str


def series(record: Record, key: str, name: str = "", low: str = "", high: str = "") -> Series:
    """A metric over the steps, with a band between two others where the run has them; steps without a value are left
    out, as those are that reuse the completions of an earlier one."""
    columns = [record.column(key), *(record.column(end) for end in (low, high) if end)]
    return _series(record, name, columns)


def spread(record: Record, key: str, deviation: str, name: str = "") -> Series:
    """A metric with a band of one standard deviation to either side."""
    middle, width = record.column(key), record.column(deviation)
    pairs = list(zip(middle, width, strict=True))
    low = [None if m is None or w is None else m - w for m, w in pairs]
    high = [None if m is None or w is None else m + w for m, w in pairs]
    return _series(record, name, [middle, low, high])


def _series(record: Record, name: str, columns: Sequence[Column]) -> Series:
    steps = [float(row[metrics.STEP]) for row in record.rows]
    kept = [i for i, value in enumerate(columns[0]) if value is not None]
    n_buckets = min(len(kept), MOST_POINTS)
    edges = [i * len(kept) // n_buckets for i in range(n_buckets + 1)] if kept else []
    buckets = [kept[a:b] for a, b in itertools.pairwise(edges)]
    x = [statistics.fmean(steps[i] for i in bucket) for bucket in buckets]
    y, *ends = ([_mean([column[i] for i in bucket]) for bucket in buckets] for column in columns)
    has_band = len(ends) == 2 and any(value is not None for value in ends[0])
    return Series(name, x, y, *ends) if has_band else Series(name, x, y)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def reward_charts(record: Record) -> list[Chart]:
    """The total with its spread and its range, then its components."""
    total = [
        spread(record, metrics.REWARD, metrics.REWARD_STD, "mean ± std"),
        series(record, metrics.BEST, "best"),
        series(record, metrics.WORST, "worst"),
    ]
    parts = [spread(record, key, f"rewards/{name}/std", name) for name, key in _means(record).items()]
    return [Chart("Reward", total, "weighted sum"), Chart("Rewards before weighing, mean ± std", parts, "score")]


def completion_charts(record: Record) -> list[Chart]:
    """Length, and the shares that say that something is wasted."""
    length = [series(record, metrics.LENGTH, "mean, between shortest and longest", SHORTEST, metrics.LONGEST)]
    shares = [series(record, metrics.TRUNCATED, "truncated"), series(record, metrics.NO_SIGNAL, "no-signal groups")]
    return [
        Chart("Length of completions", length, "tokens"),
        Chart("Truncated; groups without signal", shares, "share"),
    ]


def policy_charts(record: Record) -> list[Chart]:
    """How far it has moved, and how sure it is of itself."""
    return [
        Chart("Entropy", [series(record, metrics.ENTROPY)], "nats a token"),
        Chart("KL to the reference", [series(record, metrics.KL)], "nats a token"),
        Chart("Gradient norm", [series(record, metrics.GRAD_NORM)], "before clipping"),
    ]


def cost_charts(record: Record) -> list[Chart]:
    """Seconds by phase, and memory."""
    phases = [series(record, key, name) for name, key in PHASES.items()]
    kinds = {"reserved": metrics.RESERVED_GIB, "allocated": metrics.ALLOCATED_GIB}
    memory = [series(record, key, name) for name, key in kinds.items()]
    return [Chart("Time of a step", phases, "seconds"), Chart("Peak memory", memory, "GiB")]


def overlaid(records: Sequence[Record], names: Sequence[str]) -> list[Chart]:
    """One chart a metric, a line a run."""
    components = {name: key for record in records for name, key in _means(record).items()}
    keys = {
        "Reward": (metrics.REWARD, "weighted sum"),
        **{f"Reward {name}, before weighing": (key, "score") for name, key in components.items()},
        "Length of completions": (metrics.LENGTH, "tokens"),
        "Truncated": (metrics.TRUNCATED, "share"),
        "Groups without signal": (metrics.NO_SIGNAL, "share"),
        "Entropy": (metrics.ENTROPY, "nats a token"),
        "KL to the reference": (metrics.KL, "nats a token"),
        "Gradient norm": (metrics.GRAD_NORM, "before clipping"),
        "Time of a step": (metrics.STEP_S, "seconds"),
        "Peak memory": (metrics.RESERVED_GIB, "GiB"),
    }
    return [
        Chart(title, [series(record, key, name) for record, name in zip(records, names, strict=True)], unit)
        for title, (key, unit) in keys.items()
    ]


def with_values(given: Sequence[Chart]) -> list[Chart]:
    """Without lines and charts that have no value: an empty one would say nothing that its absence does not."""
    kept = [replace(chart, lines=[one for one in chart.lines if any(v is not None for v in one.y)]) for chart in given]
    return [chart for chart in kept if chart.lines]


def drawn(given: Sequence[Chart]) -> list[Markup]:
    """For a page."""
    return [charts.lines(chart.title, chart.lines, STEP, chart.unit) for chart in with_values(given)]


def _means(record: Record) -> dict[str, str]:
    return metrics.reward_means(key for row in record.rows for key in row)
