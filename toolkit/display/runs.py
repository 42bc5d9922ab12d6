"""Runs that have been recorded, as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from toolkit.display.tables import Cell, Table, number, words
from toolkit.units import format_seconds

STYLES = {"running": "cyan", "finished": "green", "stopped": "yellow", "failed": "red", "killed": "red"}


def listing(listed: Sequence[Mapping[str, Any]], folder: Path) -> RenderableType:
    """A row a run, as `Record.summary` gives it."""
    if not listed:
        return Text(f"{folder} holds no run")
    table = Table(
        [
            words("run"),
            "status",
            number("steps"),
            number("reward"),
            number("before"),
            number("after"),
            number("gain"),
            number("time"),
        ]
    )
    for run in listed:
        gain = (run["difference"] or {}).get("value")
        cells: list[Cell] = [
            Path(run["folder"]).name,
            Text(run["status"], STYLES[run["status"]]),
            f"{run['steps']}/{run['max_steps'] or '-'}",
            "-" if run["reward"] is None else f"{run['reward']:.2f}",
            *(_share((run[when] or {}).get("pass_at_1")) for when in ("before", "after")),
            "-" if gain is None else f"{100 * gain:+.1f}",
            "-" if run["wall_s"] is None else format_seconds(run["wall_s"]),
        ]
        table.add(*cells)
    return table.rich()


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
