"""Runs side by side, as a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.display.panel import sparkline
from toolkit.display.runs import SPARK_WIDTH, STYLES, charted, plain, seconds, share
from toolkit.display.tables import Table, facts, number, words
from toolkit.display.terminal import escaped
from toolkit.runs.compare import differing_environment, differing_settings, paired
from toolkit.runs.record import LAST_STEPS, Record
from toolkit.units import plural


def names_for(records: Sequence[Record]) -> list[str]:
    """A letter for each run; numbers where there are more runs than letters."""
    return [chr(65 + i) if len(records) <= 26 else str(i + 1) for i in range(len(records))]


def compared(records: Sequence[Record]) -> RenderableType:
    """Runs side by side: names, settings that differ, figures, gains over the first, and curves."""
    names = names_for(records)
    parts: list[RenderableType] = [
        facts((name, escaped(str(record.folder))) for name, record in zip(names, records, strict=True))
    ]
    parts += [
        Text(f"{record.folder.name}: {escaped(line)}", "yellow") for record in records for line in record.warnings
    ]
    for heading, found in (("setting", differing_settings(records)), ("environment", differing_environment(records))):
        table = Table([words(heading), *(words(name) for name in names)])
        for name, values in found.items():
            table.add(escaped(name), *(escaped(str(value)) for value in values))
        parts += [Text(), table.rich() if found else Text(f"no {heading} differs", "dim")]
    return Group(
        *parts, Text(), figures_table(records, names).rich(), *_gains(records, names), *_curves(records, names)
    )


def figures_table(records: Sequence[Record], names: Sequence[str]) -> Table:
    """A column a run: how it ended, accuracy, and the figures of its last steps."""
    table = Table(["", *map(number, names)])
    table.add("status", *(Text(record.status, STYLES[record.status]) for record in records))
    table.add("steps", *(str(record.n_steps) for record in records))
    for when in ("before", "after"):
        sides = [record.measurement(when) for record in records]
        if any(sides):
            table.add(f"pass@1 {when}", *(share(side.get("pass_at_1")) for side in sides))
    figures = [record.figures() for record in records]
    for key in dict.fromkeys(key for of_one in figures for key in of_one):
        values = [of_one.get(key) for of_one in figures]
        if any(value is not None for value in values):
            table.add(escaped(key), *map(plain, values))
    table.add("wall time", *(seconds(record.summary()["wall_s"]) for record in records))
    return table


def gain_in_words(name: str, first: str, found: Mapping[str, Any]) -> str:
    """What `compare.paired` found, as a sentence."""
    if found["why"]:
        return f"{name} against {first}: not paired, {found['why']}"
    said = []
    for what, scale, form, unit in (("pass_at_1", 100, "+.1f", "points"), ("score", 1, "+.3f", "in score")):
        if gain := found[what]:
            ends = [format(scale * bound, form) for bound in gain["interval"] or ()]
            interval = f" ({ends[0]} to {ends[1]})" if ends else ""
            said.append(f"{scale * gain['value']:{form}} {unit}{interval}")
    paired_on = f"on the same {plural(found['n'], 'problem')}, 95% interval"
    return f"{name} against {first}: {', '.join(said) or 'no scores'} {paired_on}"


def _gains(records: Sequence[Record], names: Sequence[str]) -> Iterator[RenderableType]:
    """Each run against the first, on the problems that both were measured on."""
    yield Text()
    for name, record in zip(names[1:], records[1:], strict=True):
        found = paired(records[0], record)
        style = "yellow" if found["why"] else ""
        yield Text(escaped(gain_in_words(name, names[0], found)), style, overflow="fold")


def _curves(records: Sequence[Record], names: Sequence[str]) -> Iterator[RenderableType]:
    """Each metric of each run, on a scale of its own."""
    table = Table(["course", "", number("first"), number(f"last {LAST_STEPS}"), ""])
    for label, key in dict.fromkeys(pair for record in records for pair in charted(record)):
        columns = [[value for value in record.column(key) if value is not None] for record in records]
        for i, (name, record, values) in enumerate(zip(names, records, columns, strict=True)):
            if values:
                ends = plain(values[0]), plain(record.last_mean(key))
                table.add("" if i else label, name, *ends, sparkline(values, SPARK_WIDTH))
    if table.rows:
        yield Text()
        yield table.rich()
