"""The figures of an evaluation on a screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from toolkit.display.findings import Findings
from toolkit.display.tables import Table, number
from toolkit.findings import Finding

OURS = "pass@1"
NAMES = {"lm_eval_strict": "lm-eval strict", "lm_eval_flexible": "lm-eval flexible"}


def render(result: Mapping[str, Any], findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """Tables of what was found, and the warnings with what to do about them."""
    yield _shares(result).rich()
    for table in (_rewards(result["greedy"]), _groups(result)):
        if table is not None:
            yield Text()
            yield table.rich()
    yield Text()
    side = result["greedy"]
    said = f"{side['n']} problems, {result['split'].replace('_', ' ')}, measured by {result['measured_by']}"
    yield Text(f"{said}; {side['mean_tokens']:.1f} tokens, {side['truncated_frac']:.1%} truncated")
    if (canary := result.get("canary")) is not None and canary["before"] is None:
        yield Text(f"perplexity on other text {canary['after']:.4g}")
    if findings:
        yield Text()
        yield Findings(findings)
    yield Text(result["folder"], style="dim", overflow="fold")


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def span(interval: Sequence[float] | None, scale: float = 100) -> str:
    """`11.7 to 20.6`."""
    digits = 1 if scale == 100 else 2
    return "-" if interval is None else " to ".join(f"{scale * end:.{digits}f}" for end in interval)


def _shares(result: Mapping[str, Any]) -> Table:
    table = Table(["share right", number("value"), "95% interval", "how"])
    greedy = result["greedy"]
    if greedy["pass_at_1"] is None:
        table.add("no pass@1", "-", "-", "nothing says which score is right: --pass_score does")
    else:
        table.add(OURS, Text(percent(greedy["pass_at_1"]), "bold"), span(greedy["interval"]), "greedy, Wilson")
    for name, found in result.get("filters", {}).items():
        same = "" if found["same_frac"] is None else f"; as ours {found['same_frac']:.1%}"
        shown = str(NAMES.get(name, name))
        table.add(shown, percent(found["pass_at_1"]), span(found["interval"]), f"the same texts{same}")
    sampled = result.get("sampled") or {}
    for kind, label in (("pass_at_k", "pass@"), ("maj_at_k", "maj@")):
        for k, found in sampled.get(kind, {}).items():
            how = f"{sampled['n_samples']} at {sampled['temperature']:g}, bootstrap"
            table.add(f"{label}{k}, sampled", percent(found["value"]), span(found["interval"]), how)
    return table


def _rewards(side: Mapping[str, Any]) -> Table | None:
    if not side["rewards"]:
        return None
    table = Table(["reward", number("mean"), "95% interval", number("judged")])
    for name, found in side["rewards"].items():
        mean = "-" if found["mean"] is None else f"{found['mean']:.3f}"
        table.add(str(name), mean, span(found["interval"], 1), str(found["n"]))
    if side["format_frac"] is not None:
        table.add("format rate", percent(side["format_frac"]), "", "")
    return table


def _groups(result: Mapping[str, Any]) -> Table | None:
    if not result.get("by"):
        return None
    table = Table([result["by"]["name"], number("problems"), number(OURS), "95% interval"])
    for group in result["by"]["groups"]:
        table.add(group["value"], str(group["n"]), percent(group["pass_at_1"]), span(group["interval"]))
    return table
