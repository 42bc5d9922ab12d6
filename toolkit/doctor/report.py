"""From findings to a verdict, and both to a screen or to JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.doctor.checks import run_checks
from toolkit.doctor.facts import Facts
from toolkit.doctor.finding import Check, Status

MARKS: dict[Status, tuple[str, str, str]] = {
    "ok": ("✓", "+", "green"),
    "info": ("·", ".", "dim"),
    "warn": ("!", "!", "yellow"),
    "fail": ("✗", "x", "bold red"),
}


@dataclass(frozen=True)
class Report:
    """All findings on a machine and what they come to."""

    checks: Sequence[Check]
    can_run: bool
    """Whether the main job runs here: the recipe as it starts without flags."""
    verdict: str
    """One line."""
    tested_set: Mapping[str, Any]
    """The nearest known set (`Nearest`), and the line that installs this machine's own; empty where there is none."""

    def as_json(self) -> dict[str, Any]:
        """One object: `verdict`, `can_run`, `tested_set` ({"name", "ran", "differing", "install"}, or {} where the
        card is too old), `checks` ([{"name", "status", "found", "wanted", "remedy"}]).
        """
        checks = [asdict(check) for check in self.checks]
        return {"verdict": self.verdict, "can_run": self.can_run, "tested_set": dict(self.tested_set), "checks": checks}


def examine(facts: Facts) -> Report:
    """Check a machine and say in one line what the main job would be there, or what stops it."""
    checks = run_checks(facts)
    stops = [check for check in checks if check.status == "fail"]
    if not stops:
        return Report(checks, True, f"the main job can run here: {_main_job(facts)}", _tested_set(facts))
    verdict = f"the main job cannot run here: mend {', '.join(check.name for check in stops)}"
    without_card = replace(facts, gpus=(), why_no_gpu="hidden")
    if facts.gpus and not any(check.status == "fail" for check in run_checks(without_card)):
        verdict += "; with CUDA_VISIBLE_DEVICES=-1 the embedded model trains on the CPU"
    return Report(checks, False, verdict, _tested_set(facts))


def _tested_set(facts: Facts) -> dict[str, Any]:
    row = facts.machine_set
    return {} if row.impossible else asdict(facts.nearest) | {"install": row.install_line(facts.tested)}


def _main_job(facts: Facts) -> str:
    """What `backends.choose` and the presets come to, from facts alone."""
    if not facts.gpus:
        return "embedded model on the CPU"
    engine = "unsloth" if facts.has("unsloth") else "transformers"
    return f"on {facts.gpus[0].name} with {engine}" + (" and vLLM" if facts.has("vllm") else "")


def render(report: Report, *, ascii_only: bool = False) -> RenderableType:
    """The findings as a table, what mends them, then the verdict. To be printed with `crop=False`.

    A remedy is a line of its own and never wrapped here: where a terminal wraps it, it still copies as one.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("check", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in report.checks:
        mark, plain, style = MARKS[check.status]
        status = Text(f"{plain if ascii_only else mark} {check.status}", style)
        found = Text(check.found)
        if check.wanted:
            found.append(f"; wanted {check.wanted}", "dim")
        table.add_row(check.name, status, found)
    verdict = Text(report.verdict, "bold green" if report.can_run else "bold red")
    return Group(table, *_remedies(report.checks, "->" if ascii_only else "→"), Text(), verdict)


def _remedies(checks: Sequence[Check], arrow: str) -> Iterator[Text]:
    """One line each, what stops the main job first."""
    order: list[Status] = ["fail", "warn", "info", "ok"]
    to_mend = sorted((check for check in checks if check.remedy), key=lambda check: order.index(check.status))
    if to_mend:
        yield Text()
    width = max((len(check.name) for check in to_mend), default=0)
    for check in to_mend:
        line = Text(no_wrap=True, overflow="ignore")
        yield (
            line.append(f"{check.name:<{width}} ", MARKS[check.status][2])
            .append(f"{arrow} ")
            .append(check.remedy, "cyan")
        )
