"""Runs that have been recorded, as a terminal shows them: a list, one run, and completions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.display.findings import Findings
from toolkit.display.panel import sparkline
from toolkit.display.tables import Cell, Table, facts, number, words
from toolkit.display.terminal import escaped
from toolkit.runs import metrics
from toolkit.runs.diagnosis import verdicts_of
from toolkit.runs.names import FORMAT, SETTINGS, SUMMARY
from toolkit.runs.record import LAST_STEPS, Record
from toolkit.units import format_count, format_gib, format_seconds, plural

STYLES = {"running": "cyan", "finished": "green", "stopped": "yellow", "failed": "red", "killed": "red"}
NOTHING = "-"
SPARK_WIDTH = 24


def listing(listed: Sequence[Mapping[str, Any]], folder: Path) -> RenderableType:
    """A row a run, as `Record.summary` gives it, then what could not be read."""
    if not listed:
        return Text(f"{folder} holds no run")
    figures = map(number, ("steps", "reward", "before", "after", "gain", "time"))
    table = Table([words("run"), "status", *figures])
    for run in listed:
        gain = (run["difference"] or {}).get("value")
        table.add(
            escaped(Path(run["folder"]).name),
            Text(run["status"], STYLES[run["status"]]),
            f"{run['steps']}/{or_dash(run['max_steps'])}",
            plain(run["reward"]),
            *(share((run[when] or {}).get("pass_at_1")) for when in ("before", "after")),
            NOTHING if gain is None else f"{100 * gain:+.1f}",
            seconds(run["wall_s"]),
        )
    return Group(table.rich(), *_remarks(listed))


def _remarks(listed: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    for run in listed:
        for warning in run["warnings"]:
            yield Text(f"{escaped(Path(run['folder']).name)}: {escaped(warning)}", "yellow", overflow="fold")
    older = [escaped(Path(run["folder"]).name) for run in listed if run["format"] < FORMAT]
    if older:
        yield Text(f"of an older version of the toolkit: {', '.join(older)}", "dim", overflow="fold")


# ------------------------------------------------------------------ one run


def shown(record: Record, next_steps: Iterable[tuple[str, str]]) -> RenderableType:
    """A run on a screen: how it ended, what it reached, the course of its metrics, and what to do next."""
    parts: list[RenderableType] = [facts(_facts(record))]
    parts += [Text(escaped(warning), "yellow", overflow="fold") for warning in record.warnings]
    for part in (_measured(record), _course(record)):
        if part.rows:
            parts += [Text(), part.rich()]
    if verdicts := verdicts_of(record):
        parts += [Text(), Findings(verdicts)]
    changed = record.at(SETTINGS, "differences") or []
    if changed:
        parts += [Text(), *(Text(f"setting changed: {escaped(str(line))}", "yellow") for line in changed)]
    parts += [Text(), facts((label, Text(command, "cyan")) for label, command in next_steps)]
    return Group(*parts)


def _facts(record: Record) -> Iterator[tuple[Cell, Cell]]:
    summary, figures = record.summary(), record.figures()
    yield "run", Text(escaped(str(record.folder)), "bold")
    if record.age:
        yield "", Text(record.age, "yellow")
    status = Text(record.status, STYLES[record.status])
    status.append(f", step {record.n_steps} of {or_dash(summary['max_steps'])}")
    if error := record.at(SUMMARY, "error"):
        status.append(f": {escaped(str(error))}")
    yield "status", status
    engine = f" on {backend}" if (backend := record.at(SUMMARY, "backend")) else ""
    seed = or_dash(summary["seed"])
    yield "trained", escaped(f"{or_dash(summary['model'])}{engine} by {or_dash(summary['recipe'])}, seed {seed}")
    speed = [seconds(summary["wall_s"])]
    if (step_s := figures[metrics.STEP_S]) is not None:
        speed.append(f"{format_seconds(step_s)} a step")
    if (rate := figures[metrics.TOKENS_PER_S]) is not None:
        speed.append(f"{format_count(rate)} tokens/s in rollouts")
    yield "time", ", ".join(speed)
    if (peak := figures[metrics.RESERVED_GIB]) is not None:
        yield "memory", f"peak {format_gib(peak)}"


def _measured(record: Record) -> Table:
    """Accuracy on the held-out problems before and after, and each reward's mean there."""
    table = Table(["held out", number("before"), "95% interval", number("after"), "95% interval"])
    sides = [record.measurement(when) for when in ("before", "after")]
    if any(side.get("pass_at_1") is not None for side in sides):
        cells = [(share(side.get("pass_at_1")), _range(side.get("interval"), percent=True)) for side in sides]
        table.add(Text("pass@1", "bold"), *cells[0], *cells[1])
        if record.gain is not None:
            value, bounds = record.gain
            points = " to ".join(f"{100 * bound:+.1f}" for bound in bounds) if bounds else NOTHING
            table.add("gain, points", "", "", Text(f"{100 * value:+.1f}", "bold"), points)
    for name in dict.fromkeys(name for side in sides for name in side.get("rewards") or {}):
        of_one = [(side.get("rewards") or {}).get(name) or {} for side in sides]
        pairs = [(plain(one.get("mean")), _range(one.get("interval"))) for one in of_one]
        table.add(escaped(name), *pairs[0], *pairs[1])
    return table


def _course(record: Record) -> Table:
    """The metrics of training: at first, at last, between which values, and a line."""
    table = Table(["training", *map(number, ("first", f"last {LAST_STEPS}", "lowest", "highest")), "course"])
    for label, key in charted(record):
        values = [value for value in record.column(key) if value is not None]
        if values:
            last = record.last_mean(key)
            table.add(label, *map(plain, (values[0], last, min(values), max(values))), sparkline(values, SPARK_WIDTH))
    return table


def charted(record: Record) -> list[tuple[str, str]]:
    """Label and key of the metrics that say how training went, in the order in which they are looked at."""
    names = metrics.reward_means(key for row in record.rows for key in row)
    return [
        ("reward", metrics.REWARD),
        *((f"  {escaped(name)}", key) for name, key in names.items()),
        ("length, tokens", metrics.LENGTH),
        ("truncated", metrics.TRUNCATED),
        ("no-signal groups", metrics.NO_SIGNAL),
        *(("entropy", metrics.ENTROPY), ("KL", metrics.KL), ("grad norm", metrics.GRAD_NORM)),
    ]


# ------------------------------------------------------------------ completions


def completion(row: Mapping[str, Any], name: str, limit: int | None) -> RenderableType:
    """One completion with its scores; of prompt and text at most `limit` characters, None for all."""
    scores = " ".join(f"{escaped(str(k))} {plain(v)}" for k, v in (row.get("rewards") or {}).items())
    group = f", group {row['group']}" if row.get("group") is not None else ""
    head = Text(f"{name}{group}", "bold")
    for label, value in (
        ("reward", row.get("reward")),
        ("score", row.get("score")),
        ("advantage", row.get("advantage")),
    ):
        if value is not None:
            head.append(f"  {label} {value:+.2f}" if label == "advantage" else f"  {label} {plain(value)}")
    if scores:
        head.append(f"  ({scores})", "cyan")
    head.append(f"  {or_dash(row.get('n_tokens'))} tokens, {or_dash(row.get('finish_reason'))}", "dim")
    answer = escaped(_cut(str(row.get("answer")), limit))
    return Group(
        head,
        Text(escaped(_cut(str(row.get("prompt") or ""), limit)), "dim", overflow="fold"),
        Text(escaped(_cut(str(row.get("completion") or ""), limit)), overflow="fold"),
        Text(f"answer {answer}", "dim", overflow="fold"),
        Text(),
    )


def _cut(text: str, limit: int | None) -> str:
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]} [{plural(len(text) - limit, 'character')} more: --full]"


# ------------------------------------------------------------------ figures


def share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def plain(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _range(bounds: Sequence[float] | None, *, percent: bool = False) -> str:
    if not bounds:
        return NOTHING
    return " to ".join(f"{100 * bound:.1f}" for bound in bounds) + "%" if percent else " to ".join(map(plain, bounds))


def seconds(value: float | None) -> str:
    return NOTHING if value is None else format_seconds(value)


def or_dash(value: Any) -> str:
    return NOTHING if value is None else str(value)
