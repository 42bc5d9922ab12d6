"""The health rules over a run that is over, or over the part of it that is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.control.health import Health, held_out_row
from toolkit.errors import RunFolderError
from toolkit.findings import Finding, Level, worst
from toolkit.runs.logs import Log, read_log
from toolkit.runs.record import Record
from toolkit.units import plural


@dataclass(frozen=True)
class Diagnosis:
    """What the rules say of a log."""

    log: Log
    health: Health

    @property
    def level(self) -> Level:
        """The worst of the run."""
        return worst(verdict.level for verdict in self.health.tripped())

    @property
    def findings(self) -> list[Finding]:
        """What tripped, with its steps; the note on the loss."""
        tripped = [
            Finding(f.name, f.level, f"{v.when()}: {f.found}. {v.rule.means.rstrip('.')}", f.wanted, f.next_step)
            for v in self.health.tripped()
            for f in (v.finding,)
        ]
        notes = [v.finding for v in self.health.verdicts() if v.level == "green" and v.found != v.NOTHING]
        return [*tripped, *notes]

    def words(self) -> str:
        """One line: the level, and how many rules were judged."""
        verdicts = self.health.verdicts()
        judged = len({verdict.rule.id for verdict in verdicts})
        unjudged = self.health.not_judged
        missing = f"; not judged: {', '.join(unjudged)}" if unjudged else ""
        rows = plural(len(self.log.rows), "row")
        return f"{self.log.source}: {self.level}; {rows}, {plural(judged, 'rule')} judged{missing}"

    def as_json(self) -> dict[str, Any]:
        """`{"level", "source", "n_rows", "warnings", "verdicts", "not_judged"}`; see `Verdict.as_json`."""
        about = {"source": str(self.log.source), "n_rows": len(self.log.rows), "warnings": self.log.warnings}
        return {"level": self.level, **about, **self.health.as_json()}


def verdicts_of(record: Record) -> list[Finding]:
    """What the rules found while a run trained; of a run that has not recorded it, what they find now."""
    recorded = record.verdicts()
    if recorded is not None:
        return recorded
    try:
        return diagnose(record.folder).findings
    except RunFolderError:  # no step to judge
        return []


def diagnose(path: Path) -> Diagnosis:
    """Judge what a run logged; RunFolderError where there is nothing to judge."""
    log = read_log(path)
    health = Health(log.context)
    for row in log.rows:
        health.feed(row)
    if held_out := held_out_row(log.summary):
        health.feed({"step": health.history.step, **held_out})
    return Diagnosis(log, health)
