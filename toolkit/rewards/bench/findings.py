"""What a check comes to, and how several of them are summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["PASS", "WARN", "FAIL"]
TOLERANCE = 1e-6
"""Scores that differ by less are the same."""


@dataclass(frozen=True)
class Finding:
    """One check. `FAIL`: a run with this reward is not worth starting. `WARN`: it runs, otherwise than it may seem."""

    name: str
    status: Status
    found: str
    wanted: str = ""
    remedy: str = ""
    """Every `WARN` and `FAIL` has one."""


@dataclass(frozen=True)
class Verdict:
    """All findings on a reward."""

    reward: str
    layout: str
    """How the checked completions were laid out."""
    n_rows: int
    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == "FAIL"]

    def as_json(self) -> dict[str, Any]:
        """`{"reward", "holds", "layout", "n_rows", "findings": [{"name", "status", "found", "wanted", "remedy"}]}`."""
        listed = [asdict(finding) for finding in self.findings]
        return {
            "reward": self.reward,
            "holds": self.holds,
            "layout": self.layout,
            "n_rows": self.n_rows,
            "findings": listed,
        }
