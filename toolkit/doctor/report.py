"""From findings to a verdict, and both to a screen or to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.display.findings import WORDS, Findings
from toolkit.doctor.checks import run_checks
from toolkit.doctor.facts import Facts
from toolkit.findings import Finding


@dataclass(frozen=True)
class Report:
    """All findings on a machine and what they come to.

    Red: the main job, the recipe as it starts without flags, cannot run. Amber: it runs otherwise than it should, or
    may. Next steps are commands where one helps.
    """

    findings: Sequence[Finding]
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
        checks = [finding.as_json(WORDS) for finding in self.findings]
        return {"verdict": self.verdict, "can_run": self.can_run, "tested_set": dict(self.tested_set), "checks": checks}


def examine(facts: Facts) -> Report:
    """Check a machine and say in one line what the main job would be there, or what stops it."""
    findings = run_checks(facts)
    stops = [finding.name for finding in findings if finding.level == "red"]
    if not stops:
        return Report(findings, True, f"the main job can run here: {_main_job(facts)}", _tested_set(facts))
    verdict = f"the main job cannot run here: fix {', '.join(stops)}"
    without_card = replace(facts, gpus=(), why_no_gpu="hidden")
    if facts.gpus and not any(finding.level == "red" for finding in run_checks(without_card)):
        verdict += "; with CUDA_VISIBLE_DEVICES=-1 the embedded model trains on the CPU"
    return Report(findings, False, verdict, _tested_set(facts))


def _tested_set(facts: Facts) -> dict[str, Any]:
    row = facts.machine_set
    return {} if row.impossible else asdict(facts.nearest) | {"install": row.install_line(facts.tested)}


def _main_job(facts: Facts) -> str:
    """What `backends.choose` and the presets come to, from facts alone."""
    if not facts.gpus:
        return "embedded model on the CPU"
    engine = "unsloth" if facts.has("unsloth") else "transformers"
    return f"on {facts.gpus[0].name} with {engine}" + (" and vLLM" if facts.has("vllm") else "")


def render(report: Report) -> RenderableType:
    """The findings, what to do about them, then the verdict. To be printed with `crop=False`."""
    verdict = Text(report.verdict, "bold green" if report.can_run else "bold red")
    return Group(Findings(report.findings), Text(), verdict)
