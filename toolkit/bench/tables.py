"""A sweep as a table: a row a cell, the repeats of it together, beside the first row as torchtune's tables do."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.bench.store import Record
from toolkit.display.tables import Column, Table, number

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
        values = [value for record in self.finished if (value := _at(record["measured"], path)) is not None]
        return statistics.median(values) if values else None

    @property
    def status(self) -> str:
        """`ok`, or how it ended that did not finish."""
        bad = [record["status"] for record in self.records if record["status"] != "ok"]
        return bad[0].replace("_", " ") if bad else "ok"


def rows_of(records: Sequence[Record]) -> list[Row]:
    """Records of equal engine and settings together, in the order of their first."""
    grouped: dict[str, list[Record]] = {}
    for record in records:
        grouped.setdefault(repr(sorted(record["point"].items(), key=str)), []).append(record)
    return [Row(group[0]["point"], group) for group in grouped.values()]


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
    ending = ["status"] if has_run else ["on the card"] if any(plans) else []
    table = Table([*headings, *(replace(column, is_words=on_screen) for column in figures), *ending])
    for row, plan in zip(rows, plans, strict=True):
        cells = [_plain(row.point.get(name)) for name in varied(rows)]
        if base:
            cells += _measured(row, base)
        if any(plans):
            cells += [_plain(plan.get("peak_gib")), _plain(plan.get("step_s"))]
        table.add(
            *cells, *([str(len(row.records)), row.status] if has_run else [_plain(plan.get("fit"))] * len(ending))
        )
    return table


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
