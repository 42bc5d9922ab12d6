"""The page of one run: what came of it, whether it is sound, how it went, what the model wrote, what it was made of."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from toolkit.display import charts, page
from toolkit.display.charts import Bar
from toolkit.display.page import Page, Section, Tile
from toolkit.display.runs import NOTHING, or_dash
from toolkit.display.tables import Table, number, words
from toolkit.findings import Finding, Level
from toolkit.report import curves, texts
from toolkit.runs import metrics
from toolkit.runs.diagnosis import verdicts_of
from toolkit.runs.names import AFTER, BEFORE, ENVIRONMENT, REWARD_CHECK, SETTINGS, SUMMARY
from toolkit.runs.record import Record
from toolkit.runs.shapes import number as number_of
from toolkit.units import format_count, format_gib, format_seconds

LEVELS_OF_STATUS: dict[str, Level] = {"finished": "green", "running": "info", "stopped": "amber"}
LEVELS_OF_CHECKS: dict[str, Level] = {"WARN": "amber", "FAIL": "red"}
N_FIRST = 5
SHORTEST_PHASE_S = 0.05


def page_of(record: Record, next_steps: Iterable[tuple[str, str]]) -> Page:
    """Everything that a run folder tells, on one page; what it does not hold is left out."""
    pairs, faults = texts.pairs_of(record)
    sections = [
        Section("Result", _result(record, next_steps, faults)),
        Section("Verdicts", _verdicts(record)),
        Section("Reward", _grid([*curves.drawn(curves.reward_charts(record)), *texts.distribution(record)])),
        Section("Accuracy", _accuracy(record), "On held-out problems, greedily, with 95 % intervals."),
        Section(
            "Completions",
            _grid([*curves.drawn(curves.completion_charts(record)), *curves.drawn(curves.policy_charts(record))]),
        ),
        Section("Time and memory", _cost(record)),
        Section("Before and after", texts.before_and_after(pairs) if pairs else []),
        Section("During training", texts.during(record), "The best and the worst completion of a step."),
        Section("Settings", _settings(record)),
        Section("Environment", _environment(record)),
    ]
    summary = record.summary()
    lead = f"{or_dash(summary['model'])}, seed {or_dash(summary['seed'])}: {_how_it_ended(record)}"
    return Page(
        title=f"{or_dash(summary['recipe'])}: {record.folder.name}",
        sections=[section for section in sections if section.blocks],
        lead=lead,
        made=_made(record),
        script=files("toolkit.report").joinpath("assets", "run.js").read_text(encoding="utf-8"),
    )


def _how_it_ended(record: Record) -> str:
    asked = record.asked.get("max_steps")
    steps = f"{record.n_steps} of {asked} steps" if isinstance(asked, int) else f"{record.n_steps} steps"
    error = record.at(SUMMARY, "error")
    return f"{record.status} after {steps}" + (f" ({error})" if error else "")


# ------------------------------------------------------------------ result


def _result(record: Record, next_steps: Iterable[tuple[str, str]], faults: Sequence[str]) -> list[Markup]:
    blocks = [page.tiles(_tiles(record))]
    remarks = [Finding("record", "amber", fault) for fault in (*record.warnings, *faults)]
    if record.age:
        remarks.append(Finding("record", "info", record.age))
    if remarks:
        blocks.append(page.findings(remarks))
    commands = [f"{command}  # {what}" for what, command in next_steps if what not in ("open", "draw")]
    return [*blocks, page.code("\n".join(commands))] if commands else blocks


def _tiles(record: Record) -> Iterator[Tile]:
    status = record.status
    yield Tile("status", status, f"step {record.n_steps}", LEVELS_OF_STATUS.get(status, "red"))
    before, after = record.measurement(BEFORE), record.measurement(AFTER)
    for side, name in ((after, AFTER), (before, BEFORE)):
        if side.get("pass_at_1") is not None:
            told = _interval(side["interval"], 100, "%")
            if name == AFTER and record.gain is not None:
                value, bounds = record.gain
                told = f"gain {100 * value:+.1f} points, {_interval(bounds, 100, '', '+.1f')}"
            yield Tile(f"pass@1 {name}", f"{side['pass_at_1']:.1%}", told)
    rewards = [value for value in record.column(metrics.REWARD) if value is not None]
    if rewards:
        first = statistics.fmean(rewards[:N_FIRST])
        yield Tile("reward, last steps", f"{record.last_mean(metrics.REWARD):.2f}", f"{first:.2f} at first")
    figures, wall_s = record.figures(), record.summary()["wall_s"]
    if wall_s is not None:
        step_s = figures[metrics.STEP_S]
        yield Tile("time", format_seconds(wall_s), f"{format_seconds(step_s)} a step" if step_s is not None else "")
    if (peak := figures[metrics.RESERVED_GIB]) is not None:
        yield Tile("peak memory", format_gib(peak), _card(record))
    if (rate := figures[metrics.TOKENS_PER_S]) is not None:
        yield Tile("tokens a second", format_count(rate), "in rollouts")


def _verdicts(record: Record) -> list[Markup]:
    found = verdicts_of(record)
    found += [Finding("setting changed", "amber", str(line)) for line in record.at(SETTINGS, "differences") or []]
    found += _of_rewards(record.document(REWARD_CHECK))
    if found:
        return [page.findings(found)]
    return [page.note("Nothing found.")] if record.rows else []


def _of_rewards(checks: Mapping[str, Any]) -> Iterator[Finding]:
    """What the check of the rewards warned of before the model was loaded."""
    for name, check in checks.items():
        findings = check.get("findings") if isinstance(check, Mapping) else None
        for kept in findings if isinstance(findings, list) else []:
            level = LEVELS_OF_CHECKS.get(str(kept.get("status"))) if isinstance(kept, Mapping) else None
            if level:
                found, wanted, next_step = (str(kept.get(key) or "") for key in ("found", "wanted", "remedy"))
                yield Finding(f"reward {name}: {kept.get('name')}", level, found, wanted, next_step)


# ------------------------------------------------------------------ figures


def _accuracy(record: Record) -> list[Markup]:
    sides = {when: record.measurement(when) for when in (BEFORE, AFTER)}
    passes, means = [], []
    for when, side in sides.items():
        if side.get("pass_at_1") is not None:
            low, high = side["interval"] or (None, None)
            passes.append(Bar(when, side["pass_at_1"], low, high, when))
    for name in dict.fromkeys(name for side in sides.values() for name in side.get("rewards") or {}):
        for when, side in sides.items():
            kept = (side.get("rewards") or {}).get(name) or {}
            low, high = kept.get("interval") or (None, None)
            means.append(Bar(f"{name}, {when}", kept.get("mean"), low, high, when))
    blocks = [charts.bars("Share that is right (pass@1)", passes, form=".1%")] if passes else []
    blocks += [charts.bars("Rewards, mean", means, form=".2f")] if any(bar.value is not None for bar in means) else []
    return [*_grid(blocks), *_gain(record)]


def _gain(record: Record) -> Iterator[Markup]:
    n = record.measurement(AFTER).get("n")
    if record.gain is not None:
        value, bounds = record.gain
        paired = f"paired over {n:.0f} problems" if n else "paired"
        yield page.text(f"Gain {100 * value:+.1f} points ({_interval(bounds, 100, '', '+.1f')}), {paired}.")


def _cost(record: Record) -> list[Markup]:
    phases = {name: number_of(seconds) or 0.0 for name, seconds in (record.at(SUMMARY, "phases_s") or {}).items()}
    bars = [Bar(name, seconds) for name, seconds in phases.items() if seconds >= SHORTEST_PHASE_S]
    once = [charts.bars("Where the run's time went", bars, "seconds", ".1f")] if bars else []
    blocks = _grid([*curves.drawn(curves.cost_charts(record)), *once])
    planned = record.at(SUMMARY, "plan")
    if planned:
        blocks.append(
            page.table(_memory(planned, record.at(SUMMARY, "memory") or {}), "memory", "Planned and measured")
        )
    return blocks


def _memory(planned: Mapping[str, Any], measured: Mapping[str, Any]) -> Table:
    table = Table(["peak, GiB", number("planned"), number("measured")])
    for kind in ("allocated", "reserved", "process"):
        table.add(kind, *(_figure(side.get(f"peak_{kind}_gib")) for side in (planned, measured)))
    return table


# ------------------------------------------------------------------ settings


def _settings(record: Record) -> list[Markup]:
    """Every setting as it was asked for and as it took effect; those that a person gave are named as such."""
    effective, config = (record.at(SETTINGS, name) or {} for name in ("effective", "grpo_config"))
    grpo = record.asked.get("grpo")
    asked = {**config, **record.asked, **(grpo if isinstance(grpo, Mapping) else {})}
    asked.pop("grpo", None)
    given = set(map(str, record.at(SETTINGS, "given") or []))
    changed = {str(line).partition(":")[0] for line in record.at(SETTINGS, "differences") or []}
    table = Table(["setting", words("asked"), words("in effect"), "from"])
    for name in sorted(
        asked.keys() | effective.keys(), key=lambda name: (name not in changed, name not in given, name)
    ):
        origin = "a person" if name in given else "the toolkit" if name in asked else "the engine"
        mark = "changed, " if name in changed else ""
        table.add(
            name, _value(asked.get(name)), _value(effective.get(name)) if name in effective else "", mark + origin
        )
    blocks = [page.table(table, "settings")] if table.rows else []
    rewards = Table(["reward", number("weight"), words("target"), words("file")])
    for reward in record.at(SETTINGS, "rewards") or []:
        cells = (or_dash(reward.get(key)) for key in ("name", "weight", "target"))
        digest = f", sha256 {str(reward['sha256'])[:12]}" if reward.get("sha256") else ""
        rewards.add(*cells, f"{reward.get('file') or NOTHING}{digest}")
    if rewards.rows:
        blocks.insert(0, page.table(rewards, "rewards", "Rewards"))
    defaults = Table(["not asked for", words("the engine's"), words("TRL's")])
    for default in record.at(SETTINGS, "engine_defaults") or []:
        defaults.add(*(_value(default.get(key)) for key in ("name", "effective", "of_trl")))
    return [*blocks, page.table(defaults, "engine", "Set by the engine")] if defaults.rows else blocks


def _environment(record: Record) -> list[Markup]:
    environment = record.document(ENVIRONMENT)
    table = Table(["", words()], has_header=False)
    for name in ("platform", "machine", "python", "n_cpus", "world_size", "git_commit", "weights", "attention"):
        if environment.get(name) is not None:
            table.add(name, _value(environment[name]))
    for card in environment.get("gpus") or []:
        table.add("card", _value(card))
    for name, version in (environment.get("versions") or {}).items():
        table.add(str(name), str(version))
    for name, value in (environment.get("variables") or {}).items():
        table.add(f"${name}", str(value))
    argv = environment.get("argv")
    command = [page.code(shlex.join(map(str, argv)))] if argv else []
    return [*command, page.table(table, "environment")] if table.rows else command


def _made(record: Record) -> str:
    version = (record.at(ENVIRONMENT, "versions") or {}).get("grpo-toolkit")
    return (
        f"{record.folder}; made by the toolkit{f' {version}' if version else ''}, which loads nothing from elsewhere."
    )


# ------------------------------------------------------------------ words


def _grid(blocks: Sequence[Markup]) -> list[Markup]:
    return [page.grid(*blocks)] if blocks else []


def _card(record: Record) -> str:
    cards = [card.get("name") for card in record.at(ENVIRONMENT, "gpus") or []]
    return ", ".join(dict.fromkeys(map(str, cards))) or "of this process"


def _interval(bounds: Sequence[float] | None, scale: float, unit: str, form: str = ".1f") -> str:
    return " to ".join(format(scale * bound, form) for bound in bounds) + unit if bounds else ""


def _value(value: Any) -> str:
    """A setting as it would be typed."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(held)}" for name, held in value.items()) or "nothing"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value)) or "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else texts.cut(str(value), 2000)


def _figure(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else NOTHING
