"""A comparison of two policies on a screen: paired figures, then problems that were gained and lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from toolkit.display.tables import Table, facts, number
from toolkit.evaluation.report import percent, span
from toolkit.rewards.completions import one_line

MAX_TEXT = 300
"""Characters of a completion that are shown."""


def render(found: Mapping[str, Any], n_shown: int) -> Iterator[RenderableType]:
    """The tables, and up to `n_shown` problems of each kind with both completions."""
    yield facts([("A", found["a"]), ("B", found["b"]), ("problems", _problems(found))])
    yield Text()
    yield paired(found).rich()
    yield Text()
    for line in verdicts(found):
        yield Text(line)
    for kind in ("gained", "lost"):
        for problem in found[kind][:n_shown]:
            yield Text()
            yield facts(told(kind, problem))
        if (n_more := len(found[kind]) - n_shown) > 0 and n_shown:
            yield Text(f"{n_more} more {kind}: --json has them all", style="dim")


def paired(found: Mapping[str, Any]) -> Table:
    """Each figure of A and of B, and what B gains."""
    table = Table(["", number("A"), number("B"), number("gain"), "95% interval"])
    passes = found["pass_at_1"]
    if passes is not None:
        gain = passes["difference"]
        shown = f"{100 * gain['value']:+.1f}"
        table.add(
            "pass@1", percent(passes["a"]), percent(passes["b"]), shown, f"{_signed(gain['interval'], 100)} points"
        )
    for name, means in [*found["rewards"].items(), ("tokens", found["n_tokens"])]:
        if means["difference"] is not None:
            digits = 1 if name == "tokens" else 3
            sides = [f"{means[side]:.{digits}f}" for side in "ab"]
            table.add(name, *sides, f"{means['difference']:+.{digits}f}", _signed(means["interval"], 1))
    return table


def verdicts(found: Mapping[str, Any]) -> list[str]:
    """In words: what was gained and lost, and who wins."""
    lines = []
    if (passes := found["pass_at_1"]) is not None:
        lines.append(f"{passes['gained']} gained, {passes['lost']} lost; McNemar p = {passes['mcnemar_p']:.2g}")
    win = found["win_rate"]
    if win["value"] is None:
        lines.append(f"no win rate: {win['judged_by']} judged no pair")
    else:
        counts = f"{win['wins']} wins, {win['ties']} ties, {win['losses']} losses"
        by = f"by {win['judged_by']}, {counts}"
        interval = f" ({span(win['interval'])})" if win["interval"] else ""
        lines.append(f"B wins {percent(win['value'])}{interval}, a tie counting half: {by}")
    return lines


def told(kind: str, problem: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A problem with both completions, a line each."""
    texts = [(name, one_line(str(problem[key]), MAX_TEXT)) for name, key in (("A", "a"), ("B", "b"))]
    gold = [("answer", str(problem["answer"]))] if problem["answer"] is not None else []
    return [(kind, one_line(str(problem["prompt"]), MAX_TEXT)), *gold, *texts]


def _problems(found: Mapping[str, Any]) -> str:
    out = found["left_out"]
    left = f"; {out['a']} of A and {out['b']} of B alone are left out" if out["a"] or out["b"] else ""
    return f"{found['n']}, the same for both{left}"


def _signed(interval: Sequence[float] | None, scale: float) -> str:
    digits = 1 if scale == 100 else 2
    return "-" if interval is None else " to ".join(f"{scale * end:+.{digits}f}" for end in interval)
