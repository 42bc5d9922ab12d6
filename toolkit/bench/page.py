"""`toolkit bench page`: one offline page with a sweep's cells, and with what the planner says of every usual run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from toolkit.bench import page_charts
from toolkit.bench.predict import planner_of
from toolkit.bench.store import Record
from toolkit.bench.tables import NOT_RUN, Row, notes, rows_of, table_of, varied
from toolkit.display import page
from toolkit.display.page import Section, Tile
from toolkit.display.tables import Table, number, words
from toolkit.units import format_gib, plural

MEMORY, SPEED = ("peak_gib", "process"), ("tokens_per_s",)


def write(records: Sequence[Record], plans: dict[str, Any]) -> str:
    """The page as HTML. `plans` is an explorer's `grid`; without records it is all that the page has.

    Every figure says whether it was measured, and where, or predicted, and by which planner.
    """
    name = str(records[0].get("spec", "sweep")) if records else ""
    title = f"Sweep {name}" if records else "What fits on one card"
    lead = (
        ". ".join([f"{plural(len(rows_of(records)), 'cell')}, {places(records)}", *notes(records)]) + "."
        if records
        else "Memory and speed of GRPO, as the planner expects them: nothing here was measured."
    )
    sections = [*(_sweep(records) if records else []), _explorer(plans)]
    made = f"Written by toolkit bench page. Predicted figures: {plans['planner']}."
    return page.render(
        page.Page(title, sections, lead, made, script=_asset("page.js"), style=_asset("page.css")),
    )


def places(records: Sequence[Record]) -> str:
    """`measured (RTX 4090)`, or `predicted` where nothing has run."""
    found = dict.fromkeys(source_of(record) for record in records)
    return " and ".join(found)


def source_of(record: Record) -> str:
    """Where a record's figures come from: `measured (RTX 4090)`, `predicted (planner 1.0)`."""
    if record["status"] == NOT_RUN:
        return f"predicted ({(record.get('predicted') or {}).get('planner') or planner_of()})"
    about = record.get("about") or {}
    cards, n_cpus = about.get("card") or [], about.get("n_cpus")
    place = ", ".join(map(str, cards)) or (f"CPU, {plural(n_cpus, 'core')}" if n_cpus else "machine not recorded")
    return f"measured ({place})"


def _sweep(records: Sequence[Record]) -> list[Section]:
    rows = rows_of(records)
    names = varied(rows)
    finished = [row for row in rows if row.median(*SPEED) and row.median(*MEMORY)]
    drawn = page_charts.charts_of(rows)
    cells = Section(
        "Cells",
        [*([_tiles(rows, finished, names)] if finished else []), page.table(_cells(records, rows), "cells")],
        "A row a cell, repeats together: medians. A heading sorts, and the address keeps order and filter.",
    )
    about = [page.details("Versions and machine", page.table(_machine(records), "machine"))]
    if finished:
        about.insert(0, page.details("Seconds by phase", page.table(_phases(rows, names), "phases")))
    if not drawn:
        return [Section(cells.title, [*cells.blocks, *about], cells.note)]
    return [cells, Section("Charts", [page.grid(*drawn), *about], f"{places(records)}. {page_charts.READING}")]


def _tiles(rows: Sequence[Row], finished: Sequence[Row], names: Sequence[str]) -> Markup:
    fastest = max(finished, key=lambda row: row.median(*SPEED) or 0.0)
    leanest = min(finished, key=lambda row: row.median(*MEMORY) or 0.0)
    n_lost = sum(1 for row in rows if row.status not in ("ok", NOT_RUN.replace("_", " ")))
    return page.tiles(
        [
            Tile("fastest, measured", f"{fastest.median(*SPEED):,.0f} tokens/s", told(fastest, names)),
            Tile("least memory, measured", format_gib(leanest.median(*MEMORY) or 0.0), told(leanest, names)),
            Tile("did not finish", plural(n_lost, "cell"), "reasons in the table", "amber")
            if n_lost
            else Tile("finished", plural(len(finished), "cell"), "none ended otherwise", "green"),
        ]
    )


def told(row: Row, names: Sequence[str]) -> str:
    """The settings in which a row differs from others, in words that a narrow screen can break."""
    return ", ".join(f"{name.replace('_', ' ')} {row.point.get(name)}" for name in names) or "the only cell"


def _cells(records: Sequence[Record], rows: Sequence[Row]) -> Table:
    """The sweep's table with where each row comes from."""
    table = table_of(records)
    made = Table([*table.columns, "source"])
    for cells, row in zip(table.rows, rows, strict=True):
        made.add(*cells, places(row.records))
    return made


def _phases(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """Seconds a step by phase, a row a cell that finished."""
    finished = [row for row in rows if row.finished]
    phases = dict.fromkeys(
        phase for row in finished for one in row.finished for phase in one["measured"].get("phases", ())
    )
    table = Table([*names, *(number(f"{phase} s") for phase in phases)])
    for row in finished:
        seconds = [row.median("phases", phase) for phase in phases]
        table.add(*(str(row.point.get(name)) for name in names), *("-" if s is None else f"{s:.3g}" for s in seconds))
    return table


def _machine(records: Sequence[Record]) -> Table:
    """What decides the figures beside the settings, a line each, with every value that the records have."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        about, machine = record.get("about") or {}, record.get("machine") or {}
        plain = {name: value for name, value in about.items() if not isinstance(value, dict)}
        if "is_quiet" in machine:
            plain["quiet before each cell"] = machine["is_quiet"]
        for name, value in {**plain, **(about.get("versions") or {})}.items():
            told = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            found.setdefault(name.replace("_", " "), {})[told or "none"] = None
    return Table(["", words("value")], [(name, " or ".join(values)) for name, values in found.items()])


def _explorer(plans: dict[str, Any]) -> Section:
    blocks = [page.data("plans", plans), Markup(_asset("explorer.html"))]  # noqa: S704  # a file of the package
    note = (
        "Choose a run; the address keeps the choice, so a link to it can be shared. All figures are predicted "
        f"({plans['planner']}), none is measured: Unsloth, 4 bit, vLLM, adapters of rank 32, four passes a round, and "
        "one prompt's completions in a pass."
    )
    return Section("What fits", blocks, note)


def _asset(name: str) -> str:
    return files("toolkit.bench").joinpath("assets", name).read_text(encoding="utf-8")
