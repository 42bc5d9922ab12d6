"""A sweep as a table: a row a cell, the repeats of it together, beside the first row as torchtune's tables do."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.bench.store import Record
from toolkit.display.console import console
from toolkit.display.tables import Column, Table, number, words

UNKNOWN, NOT_RUN = "-", "not_run"


@dataclass(frozen=True)
class Row:
    """The repeats of one cell."""

    point: Mapping[str, Any]
    records: Sequence[Record]

    @property
    def finished(self) -> list[Record]:
        return [record for record in self.records if record["status"] == "ok"]

    def median(self, *path: str) -> float | None:
        """The median over the repeats of a figure of `measured`; None where none has it."""
        values = self.values(*path)
        return statistics.median(values) if values else None

    def values(self, *path: str) -> list[float]:
        """A figure of `measured` in each repeat that has it."""
        return [value for record in self.finished if (value := _at(record["measured"], path)) is not None]

    @property
    def status(self) -> str:
        """`ok`, or how it ended that did not finish."""
        bad = [record["status"] for record in self.records if record["status"] != "ok"]
        return bad[0].replace("_", " ") if bad else "ok"


def rows_of(records: Sequence[Record], mixed: Sequence[str] | None = None) -> list[Row]:
    """Records of equal engine, settings and conditions together, in the order of their first.

    A condition in which the records differ (`mixed_in`, or `mixed`) stands among the settings, so that each table,
    chart and comparison shows it.
    """
    mixed = mixed_in(records) if mixed is None else mixed
    points = [{**record["point"], **_only(conditions(record), mixed)} for record in records]
    grouped: dict[str, Row] = {}
    for point, record in zip(points, records, strict=True):
        row = grouped.setdefault(repr(sorted(point.items(), key=str)), Row(point, []))
        grouped[repr(sorted(point.items(), key=str))] = Row(point, [*row.records, record])
    return list(grouped.values())


def conditions(record: Record) -> dict[str, str]:
    """What decides a cell's figures beside its settings: card or CPU, warm-up, releases."""
    about = record.get("about") or {}
    if not about:
        return {}
    cards = ", ".join(map(str, about.get("card") or []))
    told = {"card": cards or f"CPU, {about.get('n_cpus')} cores", "warm-up": str(about.get("warmup_steps"))}
    others = {name: str(value) for name, value in about.items() if name not in _TOLD and value is not None}
    return told | others | {name: str(value) for name, value in (about.get("versions") or {}).items()}


def mixed_in(records: Sequence[Record]) -> list[str]:
    """The conditions in which records differ."""
    found = [conditions(record) for record in records]
    names = dict.fromkeys(name for one in found for name in one)
    return [name for name in names if len({one.get(name) for one in found}) > 1]


def notes(records: Sequence[Record]) -> list[str]:
    """What a reader of the figures has to know: conditions that are mixed, and a machine that was busy."""
    mixed = mixed_in(records)
    found = [f"mixed: {', '.join(mixed)} differ, and cells of each stand apart"] if mixed else []
    n_busy = sum(map(is_busy, records))
    return found + (
        [f"the machine was busy before {n_busy} of {len(records)} cells: times are not a quiet one's"] if n_busy else []
    )


def is_busy(record: Record) -> bool:
    """Other work was seen on the machine just before the cell."""
    return (record.get("machine") or {}).get("is_quiet") is False


def _only(found: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: found.get(name, UNKNOWN) for name in names}


_TOLD = ("card", "n_cpus", "warmup_steps", "versions", "git_commit")


def varied(rows: Sequence[Row]) -> list[str]:
    """The names of the settings in which the rows differ, in the order of the spec."""
    names = list(dict.fromkeys(name for row in rows for name in row.point))
    return [name for name in names if len({repr(row.point.get(name)) for row in rows}) > 1]


def table_of(records: Sequence[Record], *, on_screen: bool = False) -> Table:
    """Varied settings, then peak and tokens/s, each with its change from the first row that finished.

    Planned figures stand beside measured ones where the planner knew the card. `on_screen`: headings may be folded.
    """
    rows = rows_of(records)
    base = next((row for row in rows if row.finished), None)
    plans = [row.records[0]["predicted"] or {} for row in rows]
    headings = [Column(name.replace("_", " "), is_words=True) if on_screen else name for name in varied(rows)]
    has_run = any(record["status"] != NOT_RUN for record in records)
    figures = [*(_MEASURED if base else ()), *(_PLANNED if any(plans) else ()), *([number("n")] if has_run else [])]
    reasons = [_why(row) for row in rows]
    has_why = has_run and any(reasons) and not on_screen
    last = Column("status", is_words=True) if on_screen else "status"
    ending = [last, *([words("why")] if has_why else [])] if has_run else ["on the card"] if any(plans) else []
    table = Table([*headings, *(replace(column, is_words=on_screen) for column in figures), *ending])
    for row, plan, why in zip(rows, plans, reasons, strict=True):
        cells = [_plain(row.point.get(name)) for name in varied(rows)]
        if base:
            cells += _measured(row, base)
        if any(plans):
            cells += [_plain(plan.get("peak_gib")), _plain(plan.get("step_s"))]
        table.add(
            *cells,
            *([str(len(row.finished)), row.status] if has_run else [_plain(plan.get("fit"))] * len(ending)),
            *([why] if has_why else []),
        )
    return _within(table, console.width) if on_screen else table


def _within(table: Table, width: int) -> Table:
    """The table without the figures that are asked for least, as many as the width has no room for."""
    columns, rows = [c if isinstance(c, Column) else Column(c) for c in table.columns], table.rows
    for name in (None, "planned s/step", "reward", "%", "%", "s/step", "planned GiB"):
        at = [i for i, column in enumerate(columns) if column.name == name][-1:]
        columns = [column for i, column in enumerate(columns) if i not in at]
        rows = [[cell for i, cell in enumerate(row) if i not in at] for row in rows]
        texts = ([*c.name.split(), *(w for row in rows for w in str(row[i]).split())] for i, c in enumerate(columns))
        slack = sum(column.is_words for column in columns)  # rich shrinks these by shares, not to the letter
        if sum(max(map(len, text), default=0) + 1 for text in texts) + slack <= width:
            break
    return Table(columns, list(rows))


def reasons_of(records: Sequence[Record]) -> list[str]:
    """A line for each cell that did not finish: its settings, how it ended, and why."""
    rows = rows_of(records)
    return [
        f"{', '.join(f'{name} {row.point.get(name)}' for name in varied(rows))}: {row.status}: {_why(row)}".lstrip(": ")
        for row in rows
        if _why(row)
    ]


_MEASURED = tuple(map(number, ("peak GiB", "%", "tokens/s", "%", "s/step", "reward")))
_PLANNED = tuple(map(number, ("planned GiB", "planned s/step")))


def _measured(row: Row, base: Row) -> list[str]:
    """The cells of `_MEASURED`."""
    peak, speed = row.median("peak_gib", "process"), row.median("tokens_per_s")
    return [
        _rounded(peak, ".2f"),
        _change(peak, base.median("peak_gib", "process")),
        _rounded(speed, ",.0f"),
        _change(speed, base.median("tokens_per_s")),
        _rounded(row.median("step_s_median"), ".3g"),
        _rounded(row.median("reward"), ".2f"),
    ]


def figures_of(records: Sequence[Record]) -> Table:
    """All figures for a machine: plain numbers, a heading once, a row a cell; empty where there is none."""
    rows = rows_of(records)
    table = Table([*varied(rows), *FIGURES, "planned_gib", "planned_step_s", "n_ok", "status", "why"])
    for row in rows:
        plan = row.records[0]["predicted"] or {}
        found = [row.median(*path) for path in FIGURES.values()]
        speed = row.median("samples_per_s")
        reward = row.median("reward")
        found[-1] = None if speed is None or reward is None else 60 * speed * reward
        numbers = [*found, plan.get("peak_gib"), plan.get("step_s"), len(row.finished)]
        table.add(
            *("" if (value := row.point.get(name)) is None else str(value) for name in varied(rows)),
            *("" if value is None else f"{value:.6g}" for value in numbers),
            *(row.status, _why(row)),
        )
    return table


FIGURES: dict[str, tuple[str, ...]] = {
    "peak_gib": ("peak_gib", "process"),
    "load_peak_gib": ("phase_peak_gib", "load", "resident"),
    "rollout_peak_gib": ("phase_peak_gib", "rollout", "resident"),
    "update_peak_gib": ("phase_peak_gib", "update", "resident"),
    "step_s": ("step_s_median",),
    "tokens_per_s": ("tokens_per_s",),
    "rollout_tokens_per_s": ("rollout_tokens_per_s",),
    "update_tokens_per_s": ("update_tokens_per_s",),
    "completions_per_s": ("samples_per_s",),
    "reward": ("reward",),
    "reward_per_minute": ("reward_per_minute",),
}
"""Heading and place of a figure; reward per minute is that of all completions, 60 x completions/s x reward."""


def _why(row: Row) -> str:
    return "; ".join(dict.fromkeys(str(record["why"]) for record in row.records if record["why"]))


def _change(value: float | None, first: float | None) -> str:
    return f"{100 * (value / first - 1):+.0f}" if value is not None and first else UNKNOWN


def _rounded(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else f"{value:{form}}"


def _plain(value: Any) -> str:
    return UNKNOWN if value is None else str(value)


def _at(found: Any, path: Sequence[str]) -> Any:
    for name in path:
        found = (found or {}).get(name)
    return found
