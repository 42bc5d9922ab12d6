"""What the bench shows: rewards, tried cases, findings and exploits."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from importlib import import_module

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from toolkit.display.findings import STYLES, Findings
from toolkit.display.tables import Table, facts, number, words
from toolkit.findings import Level
from toolkit.rewards import registry
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.bench.attack import Result
from toolkit.rewards.bench.cases import Expected, Tried
from toolkit.rewards.bench.check import WORDS, Checked
from toolkit.rewards.bench.layouts import layout_name
from toolkit.rewards.bench.score import shown
from toolkit.rewards.bench.source import behind
from toolkit.rewards.completions import one_line
from toolkit.rewards.composition import Composition, Part
from toolkit.rewards.target import Target
from toolkit.units import plural

INDENT = (0, 0, 0, 6)


def listing() -> RenderableType:
    """Every reward of the library: name, range, purpose; a blank line between modules."""
    table = Table(["reward", "range", words("for")])
    module, first = "", registry.get(next(iter(registry.REWARDS)))
    for name, of in registry.REWARDS.items():
        if of != module and module:
            table.add("", "", "")
        module, reward = of, registry.get(name)
        if type(reward) is not type(first):
            first = reward
        purpose = reward.purpose if reward is first else f"the same with {_difference(reward, first)}"
        table.add(Text(name, "bold"), range_of(reward.range), purpose)
    more = "toolkit reward show NAME: how it can be hacked, and its settings; also rubric:FILE.yaml, "
    more += "composition:FILE.yaml, FILE.py:FUNCTION"
    return Group(table.rich(), Text(), Text(more, "dim"))


def _difference(reward: RewardFunction, first: RewardFunction) -> str:
    """The settings in which a reward differs from the first of its kind."""
    settings = {field.name: getattr(reward, field.name) for field in fields(reward) if field.name != "title"}
    return ", ".join(f"{key} {_brief(value)}" for key, value in settings.items() if value != getattr(first, key))


def _brief(value: object) -> str:
    """A setting in a few words: of what has parts or a weight these."""
    if isinstance(value, tuple) and value and isinstance(value[0], Part):
        return ", ".join(f"{part.weight} x {part.name}" for part in value if isinstance(part, Part))
    weight = getattr(value, "weight", None)
    return f"= {value!r}" if weight is None else f"weighing {weight:g}"


def range_of(bounds: tuple[float, float] | None) -> str:
    return f"{shown(bounds[0])} to {shown(bounds[1])}" if bounds else "not declared"


def details(target: Target) -> RenderableType:
    about = inspect.getdoc(behind(target.function) if target.declared is None else type(target.declared)) or ""
    lines: list[RenderableType] = [Text(target.name, "bold"), facts(_facts(target))]
    for paragraph in filter(str.strip, about.split("\n\n")):
        lines += [Text(), Text(" ".join(paragraph.split()))]
    return Group(*lines)


def _facts(target: Target) -> Iterator[tuple[str, str]]:
    declared = target.declared
    yield "range", range_of(target.range)
    if declared is None:
        yield "columns", ", ".join(target.columns) or "none that it names"
        yield "weakness", "not declared; toolkit reward attack looks for some"
        return
    yield "for", declared.purpose
    yield "weakness", declared.weakness
    if declared.known_exploits:
        yield "exploits", f"{', '.join(declared.known_exploits)} (toolkit reward attack)"
    yield "columns", ", ".join(declared.columns) or "none"
    if declared.optional_columns:
        yield "uses", ", ".join(declared.optional_columns)
    if declared.best_layouts:
        yield "layout", f"at its best in {', '.join(declared.best_layouts)}"
    if isinstance(declared, Composition):
        for part in declared.parts:
            gate = f", only if {part.only_if.__name__}" if part.only_if else ""
            yield "part", f"{part.name} x {part.weight}{gate}"
    for field in fields(declared):
        if field.name not in ("title", "parts") and field.repr:  # an address may hold a password
            yield "setting", f"{field.name} = {one_line(repr(getattr(declared, field.name)), 100)}"
    kind = type(declared)
    is_shipped = getattr(import_module(kind.__module__), target.name, None) is declared
    yield "import", f"from {kind.__module__} import {target.name if is_shipped else kind.__name__}"


def tried(results: Sequence[Tried]) -> RenderableType:
    """One line an expectation, and why where it failed."""
    lines: list[RenderableType] = []
    for result in results:
        level: Level = "green" if result.passed else "red"
        got = "no score" if result.error else shown(result.score)
        line = Text.assemble((WORDS[level], STYLES[level]), f"  {result.case}: ", (result.part, "bold"), f" {got}")
        lines.append(line if result.passed else line.append(f", wanted {_wanted(result.expected)}"))
        if result.reason and not result.passed:
            lines.append(Padding(Text(result.reason, "dim"), INDENT))
    n_failed = sum(not result.passed for result in results)
    verdict = f"{n_failed} of {len(results)} fail" if n_failed else f"all {len(results)} pass"
    return Group(*lines, Text(), Text(verdict, STYLES["red" if n_failed else "green"]))


def _wanted(expected: Expected) -> str:
    if expected is None:
        return "null"
    return shown(expected[0]) if expected[0] == expected[1] else range_of(expected)


def checked(result: Checked) -> RenderableType:
    """The findings, what to do about them, and what they come to. To be printed with `crop=False`."""
    how = f" on {result.n_rows} rows" + (
        f", answers in the layout {layout_name(result.layout)}" if result.layout else ""
    )
    if n_warned := sum(finding.level == "amber" for finding in result.findings):
        how += f", {plural(n_warned, 'warning')}"
    if result.holds:
        end = Text(f"{result.reward} keeps its contract{how}", STYLES["green"])
    else:
        failed = ", ".join(finding.name for finding in result.failed)
        end = Text(f"{result.reward} breaks its contract: {failed}{how}", STYLES["red"])
    return Group(Findings(result.findings), Text(), end)


def attacks(reward: str, results: Sequence[Result]) -> RenderableType:
    """A line an exploit, then the completions that work."""
    table = Table(["exploit", number("gain"), number("rows"), "outcome", words("what it is")])
    for result in results:
        word, style = _outcome(result)
        gain = "-" if result.error else f"{result.gain:+.2f}"
        rows = f"{result.rows_frac:.0%}"
        table.add(result.exploit.name, gain, rows, Text(word, style), Text(result.exploit.about, "dim"))
    return Group(table.rich(), *_examples(results), Text(), _end(reward, results))


def _outcome(result: Result) -> tuple[str, str]:
    if result.error:
        return "ERROR", STYLES["red"]
    if not result.works:
        return "survives", STYLES["green"]
    return ("named", STYLES["amber"]) if result.known else ("EXPLOIT", STYLES["red"])


def _examples(results: Iterable[Result]) -> Iterator[RenderableType]:
    for result in results:
        if not result.works and not result.error:
            continue
        yield Text()
        if result.error:
            why = result.error
        elif result.unjudged_frac:
            why = f"scores None in {result.unjudged_frac:.0%} of the rows: a way out of judgement"
        else:
            why = f"earns {shown((result.honest or 0) + result.gain)}, an honest wrong answer {shown(result.honest)}"
        yield Text.assemble((result.exploit.name, "bold"), f": {why}")
        yield Padding(Text(one_line(result.example, 160), "dim"), INDENT)


def _end(reward: str, results: Sequence[Result]) -> Text:
    working = [result.exploit.name for result in results if result.works]
    unnamed = [result.exploit.name for result in results if result.works and not result.known]
    how = f", answers in the layout {layout_name(results[0].layout)}"
    if raises := [result.exploit.name for result in results if result.error]:
        how = f"; it gives no scores for {', '.join(raises)}{how}"
    if unnamed:
        return Text(f"{reward} can be exploited: {', '.join(unnamed)}{how}", STYLES["red"])
    if working:
        return Text(f"{reward} is exploited only as it says: {', '.join(working)}{how}", STYLES["amber"])
    n = len(results) - len(raises)
    survives = f"{n} of {len(results)}" if raises else f"all {n}"
    return Text(f"{reward} survives {survives} exploits{how}", STYLES["red" if raises else "green"])
