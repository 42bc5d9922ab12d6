"""What a person sees: a line a cell while it runs, and tables at the end. Fits 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.units import format_count, format_seconds

Row = Mapping[str, Any]

KINDS = ("allocated", "reserved", "process")
NAME_WIDTH, WHY_WIDTH = 34, 160


def line(number: int, n: int, row: Row) -> str:
    """`[ 3/29] update 7B transformers   ran, 31s: 8.91 GiB, 6.1k tok/s`."""
    head = f"[{number:{len(str(n))}}/{n}] {row['name']:{NAME_WIDTH}} {row['status'].replace('_', ' ')}"
    if "measured" not in row:
        return f"{head}: {row['why']}"
    measured, update = row["measured"], row["measured"].get("update", {})
    facts = []
    if (allocated := update.get("allocated")) is not None:
        facts.append(f"{allocated:.2f} GiB")
    if (speed := update.get("tokens_per_s")) is not None:
        facts.append(f"{format_count(speed)} tok/s")
    if checks := measured.get("checks"):
        facts.append(f"{sum(bool(check['passes']) for check in checks)} of {len(checks)} checks pass")
    if step := measured.get("in_step"):
        facts.append(f"in its step {step}")
    if "verdict_is_right" in row:
        facts.append("as planned" if row["verdict_is_right"] else "not as planned")
    elif row["why"]:
        facts.append(row["why"][:WHY_WIDTH])
    return f"{head}, {format_seconds(measured['wall_s'])}" + (f": {', '.join(facts)}" if facts else "")


def render(document: Mapping[str, Any]) -> RenderableType:
    """The tables, each with its heading; one without rows is left out."""
    rows, summary = document["cells"], document["summary"]
    parts = [
        ("the flagship's path, a step at a time", _steps(rows)),
        ("measured GiB, and by how many percent the plan is off", _memory(rows)),
        ("the plan's errors in percent", _errors(summary["errors_percent"])),
        ("emulated cards: what the plan says and what happened", _verdicts(rows)),
        ("numerics", _numerics(summary["numerics"])),
    ]
    shown = [part for title, table in parts if table.row_count for part in (Text(f"\n{title}", "bold"), table)]
    return Group(*shown, Text(), *_closing(document))


def _steps(rows: Sequence[Row]) -> Table:
    table = _table("step", "seconds", "process GiB", "", left=("",))
    for row in rows:
        measured = row.get("measured", {})
        for step in measured.get("steps", ()):
            process = step.get("process")
            ended_here = step["step"] == measured.get("in_step")
            happened = Text(row["status"].replace("_", " "), "red") if ended_here else Text("done", "green")
            figures = (f"{step['seconds']:.1f}" if "seconds" in step else "-", _figure(process, None))
            table.add_row(f"{row['settings']['size']} {step['step']}", *figures, happened)
    return table


def _memory(rows: Sequence[Row]) -> Table:
    table = _table("cell", *KINDS, "tok/s")
    for row in rows:
        update = row.get("measured", {}).get("update")
        trains = row["kind"] in ("flagship", "update") and update and not row["settings"]["emulates"]
        if row["status"] != "ran" or not trains:
            continue
        errors = row["errors_percent"].get("update", {})
        figures = [_figure(update.get(kind), errors.get(kind)) for kind in KINDS]
        table.add_row(row["name"], *figures, format_count(update["tokens_per_s"]) if "tokens_per_s" in update else "-")
    return table


def _errors(summaries: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("engine, phase, kind", "cells", "mean", "worst", "in", left=("in",))
    for one in summaries:
        name = f"{one['engine']}, {one['phase']}, {one['kind']}"
        worst_cell = one["worst_cell"].removesuffix(f" {one['engine']}")
        table.add_row(name, str(one["n"]), f"{one['mean']:.1f}", f"{one['worst']:+.1f}", worst_cell)
    return table


def _verdicts(rows: Sequence[Row]) -> Table:
    table = _table("cell", "tokens", "planned GiB", "verdict", "happened", "", left=("verdict", "happened", ""))
    for row in rows:
        if not row["settings"]["emulates"] or "planned" not in row:
            continue
        interval = row["planned"]["interval_process_gib"]
        span = f"{interval[0]:.1f} to {interval[1]:.1f}"
        right = {True: Text("right", "green"), False: Text("wrong", "red"), None: Text("-")}[
            row.get("verdict_is_right")
        ]
        happened = row["status"].replace("_", " ")
        length = str(row["settings"]["max_completion_length"])
        table.add_row(row["name"], length, span, row["planned"]["verdict"], happened, right)
    return table


def _numerics(checks: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("check", "found", "bound", "", left=("",))
    for check in checks:
        found, bound = ("-" if check[key] is None else f"{check[key]:.2g}" for key in ("found", "bound"))
        passes = {True: Text("passes", "green"), False: Text("fails", "red"), None: Text("not made", "yellow")}
        table.add_row(check["check"], found, bound, passes[check["passes"]])
    return table


def _closing(document: Mapping[str, Any]) -> Iterator[Text]:
    """What did not run, in a few lines, and what the constants came to."""
    summary = document["summary"]
    counts = [f"{n} {status.replace('_', ' ')}" for status, n in summary["statuses"].items() if n]
    yield Text(f"{', '.join(counts)}, in {format_seconds(document['wall_s'])}")
    reasons: dict[str, list[str]] = {}
    for row in document["cells"]:
        if row["status"] in ("skipped", "not_run"):
            reasons.setdefault(row["why"], []).append(row["name"])
    for why, names in reasons.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield Text(f"not run, {why}: {', '.join(names[:3])}{more}", "dim")
    for name, constant in summary["constants"].items():
        if constant["median"] is not None:
            yield Text(f"{name}: {constant['median']:g}, the median of {constant['n']} cells")
    for card in (document["calibration"] or {"cards": {}})["cards"].values():
        for kind, factor in card["learned"]["slack"].items():
            yield Text(f"slack, {kind}: {factor:.2f} times what is planned")


def _figure(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" + (f" {error:+5.1f}%" if error is not None else "")


def _table(first: str, *columns: str, left: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table
