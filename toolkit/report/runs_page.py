"""The page of several runs: what differs between them, their figures, their curves on common axes, and their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from toolkit.display import charts, page
from toolkit.display.charts import Bar
from toolkit.display.compared import figures_table, gain_in_words, names_for
from toolkit.display.page import Page, Section
from toolkit.display.tables import Table, number, words
from toolkit.findings import Finding
from toolkit.report import curves, texts
from toolkit.runs.compare import differing_environment, differing_settings, paired
from toolkit.runs.diagnosis import verdicts_of
from toolkit.runs.names import AFTER, BEFORE
from toolkit.runs.record import Record
from toolkit.units import plural

MOST_PROBLEMS, MOST_BYTES = 20, 900_000


def page_of_several(records: Sequence[Record]) -> Page:
    """Everything beside the first run."""
    names = names_for(records)
    sections = [
        Section("Runs", _runs(records, names)),
        Section("What differs", _differences(records, names), "Settings and environment that are not the same in all."),
        Section(
            "Figures",
            [page.table(figures_table(records, names), "figures")],
            "Means of the last steps, medians of times.",
        ),
        Section("Accuracy", _accuracy(records, names), "On held-out problems, greedily, with 95 % intervals."),
        Section("Curves", [page.grid(*curves.drawn(curves.overlaid(records, names)))]),
        Section("Verdicts", _verdicts(records, names)),
        Section(
            "The same problems", _problems(records, names), "After training; where the runs differ in being right."
        ),
    ]
    return Page(
        title=f"{plural(len(records), 'run')} side by side",
        sections=[section for section in sections if section.blocks],
        lead="; ".join(f"{name}: {record.folder.name}" for name, record in zip(names, records, strict=True)),
        made="Made by the toolkit, which loads nothing from elsewhere.",
    )


def _runs(records: Sequence[Record], names: Sequence[str]) -> list[Markup]:
    table = Table(["", words("run"), "status", words("model"), number("seed"), number("steps"), words("record")])
    for name, record in zip(names, records, strict=True):
        said = record.summary()
        remarks = "; ".join(filter(None, [record.age, *record.warnings]))
        cells = (str(said[key]) for key in ("status", "model", "seed", "steps"))
        table.add(name, str(record.folder), *cells, remarks)
    return [page.table(table, "runs")]


def _differences(records: Sequence[Record], names: Sequence[str]) -> list[Markup]:
    blocks = []
    for heading, found in (("setting", differing_settings(records)), ("environment", differing_environment(records))):
        table = Table([heading, *map(words, names)])
        for name, values in found.items():
            table.add(name, *map(str, values))
        blocks.append(page.table(table, heading) if found else page.note(f"No {heading} differs."))
    return blocks


def _accuracy(records: Sequence[Record], names: Sequence[str]) -> list[Markup]:
    bars = []
    for when in (BEFORE, AFTER):
        for name, record in zip(names, records, strict=True):
            side = record.measurement(when)
            low, high = side.get("interval") or (None, None)
            bars.append(Bar(f"{name}, {when}", side.get("pass_at_1"), low, high, when))
    said = [
        page.text(gain_in_words(name, names[0], paired(records[0], record)))
        for name, record in zip(names[1:], records[1:], strict=True)
    ]
    has_any = any(bar.value is not None for bar in bars)
    return [*([charts.bars("Share that is right (pass@1)", bars, form=".1%")] if has_any else []), *said]


def _verdicts(records: Sequence[Record], names: Sequence[str]) -> list[Markup]:
    found = [
        Finding(f"{name}: {verdict.name}", verdict.level, verdict.found, verdict.wanted, verdict.next_step)
        for name, record in zip(names, records, strict=True)
        for verdict in verdicts_of(record)
    ]
    return [page.findings(found)] if found else []


def _problems(records: Sequence[Record], names: Sequence[str]) -> list[Markup]:
    """The same held-out problem in each run, those first in which one is right and another wrong."""
    by_run = [{row.get("prompt"): row for row in record.completions(AFTER)[0]} for record in records]
    shared = [asked for asked in by_run[0] if all(asked in rows for rows in by_run)]
    ordered = sorted(shared, key=lambda asked: len({rows[asked].get("correct") for rows in by_run}), reverse=True)
    found: list[Markup] = []
    n_bytes = 0
    for asked in ordered[:MOST_PROBLEMS]:
        passages = [texts.passage(rows[asked], name) for name, rows in zip(names, by_run, strict=True)]
        n_bytes += sum(4 * len(passage.text) for passage in passages)
        if n_bytes > MOST_BYTES:
            break
        found.append(page.details(_heading(asked, by_run), page.side_by_side(passages), is_open=not found))
    return found


def _heading(asked: Any, by_run: Sequence[Mapping[Any, texts.Row]]) -> str:
    n_right = sum(bool(rows[asked].get("correct")) for rows in by_run)
    return f"{n_right} of {len(by_run)} right: {' '.join(str(asked).split())[:160]}"
