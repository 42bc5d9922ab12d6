"""A comparison of two policies as one offline page: figures first, then every problem gained or lost, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from toolkit import __version__
from toolkit.display import charts, page
from toolkit.display.charts import Bar
from toolkit.display.page import Page, Passage, Section, Tile
from toolkit.evaluation.paired_report import paired, verdicts
from toolkit.evaluation.report import percent, span
from toolkit.units import plural

MAX_PROBLEMS = 200
"""Of each kind; a page with more takes long to open, and --json has all."""


def render(found: Mapping[str, Any]) -> str:
    """The page as HTML."""
    sections = [Section("Figures", _figures(found))]
    for kind, level in (("gained", "green"), ("lost", "red")):
        problems = found[kind]
        note = f"{plural(len(problems), 'problem')} that {'B' if kind == 'gained' else 'A'} alone solves"
        if len(problems) > MAX_PROBLEMS:
            note += f"; the first {MAX_PROBLEMS} are shown"
        blocks = [_problem(problem, right="b" if level == "green" else "a") for problem in problems[:MAX_PROBLEMS]]
        sections.append(Section(kind.capitalize(), blocks or [page.note("none")], note))
    lead = f"A: {found['a']}. B: {found['b']}. {found['n']} problems, the same for both."
    return page.render(Page("Two policies compared", sections, lead, f"toolkit {__version__}"))


def _figures(found: Mapping[str, Any]) -> list[Markup]:
    return [
        page.tiles(_tiles(found)),
        page.table(paired(found), "figures"),
        *map(page.text, verdicts(found)),
        _outcomes(found),
    ]


def _tiles(found: Mapping[str, Any]) -> list[Tile]:
    tiles = []
    if (passes := found["pass_at_1"]) is not None:
        gain = passes["difference"]
        low, high = gain["interval"]
        level = "green" if low > 0 else "red" if high < 0 else None
        tiles += [Tile("pass@1 of A", percent(passes["a"])), Tile("pass@1 of B", percent(passes["b"]))]
        points = f"{100 * low:+.1f} to {100 * high:+.1f} points"
        tiles.append(Tile("gain", f"{100 * gain['value']:+.1f}", points, level))
    win = found["win_rate"]
    if win["value"] is not None:
        note = f"{span(win['interval'])}; by {win['judged_by']}" if win["interval"] else f"by {win['judged_by']}"
        tiles.append(Tile("win rate of B", percent(win["value"]), note))
    return tiles


def _outcomes(found: Mapping[str, Any]) -> Markup:
    """How many problems went which way."""
    win, passes = found["win_rate"], found["pass_at_1"]
    bars = [Bar(f"by {win['judged_by']}: {kind}", win[kind], group="win rate") for kind in ("wins", "ties", "losses")]
    if passes is not None:
        bars += [Bar(kind, passes[kind], group="right or wrong") for kind in ("gained", "lost")]
    return charts.bars("Problems by what B makes of them", bars, "problems", ".0f")


def _problem(problem: Mapping[str, Any], right: str) -> Markup:
    gold = "" if problem["answer"] is None else f"gold answer: {problem['answer']}"
    sides = [
        Passage(side.upper(), str(problem[side]), "right" if side == right else "wrong", _level(side == right))
        for side in "ab"
    ]
    return page.text(str(problem["prompt"])) + (page.note(gold) if gold else Markup("")) + page.side_by_side(sides)


def _level(is_right: bool) -> Any:
    return "green" if is_right else "red"
