"""`toolkit plan --calibrate RUN_FOLDER`: what a finished run taught about its card."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from toolkit.display.tables import Table, number
from toolkit.units import plural
from toolkit.vram.calibration import Entry, add_run
from toolkit.vram.cards import Card
from toolkit.vram.constants import Learned, calibration_file, constants_for
from toolkit.vram.plan import KINDS


@dataclass(frozen=True)
class Calibration:
    """One run beside its plan, and what the runs of its card taught, this one included."""

    entry: Entry
    learned: Learned

    def as_json(self) -> dict[str, Any]:
        """Peaks by kind, constants before and after, GiB."""
        before, after = self.entry.plan(), self.entry.plan(self.learned)
        return {
            "card": self.entry.card["name"],
            "n_runs": self.learned.n_runs,
            "peaks_gib": {
                kind: {"planned": planned, "measured": measured, "calibrated": calibrated}
                for kind, planned, measured, calibrated in self._peaks()
            },
            "constants": {name: {"before": old, "after": new} for name, old, new in self._constants()},
            "interval_process_gib": {"before": before.interval_gib, "after": after.interval_gib},
        }

    def render(self) -> RenderableType:
        """Planned beside measured peaks, and the constants before and after."""
        return Group(self._residuals().rich(gap=3), "", self._changes().rich(gap=3))

    def kept(self) -> str:
        """What plans stand on from now on, and where that is kept."""
        runs, card = plural(self.learned.n_runs, "run"), self.entry.card["name"]
        return f"plans for {card} stand on {runs} from now on; kept in {calibration_file()}"

    def _residuals(self) -> Table:
        table = Table(["peak GiB", *map(number, ("planned", "measured", "residual", "residual now"))])
        for kind, planned, measured, calibrated in self._peaks():
            found = ("-", "-", "-")
            if measured is not None:
                found = (f"{measured:.2f}", f"{measured - planned:+.2f}", f"{measured - calibrated:+.2f}")
            table.add(kind, f"{planned:.2f}", *found)
        return table

    def _changes(self) -> Table:
        table = Table(["constant", number("before"), number("after")])
        for name, before, after in self._constants():
            table.add(name, f"{before:.2f}", f"{after:.2f}")
        intervals = (self.entry.plan().interval_gib, self.entry.plan(self.learned).interval_gib)
        table.add("interval of this plan, GiB", *(f"{low:.1f} to {high:.1f}" for low, high in intervals))
        return table

    def _peaks(self) -> list[tuple[str, float, float | None, float]]:
        """Kind, planned, measured, and planned with what was learned. GiB."""
        before, after = self.entry.plan(), self.entry.plan(self.learned)
        return [(kind, before.peak_gib(kind), self.entry.measured[kind], after.peak_gib(kind)) for kind in KINDS]

    def _constants(self) -> list[tuple[str, float, float]]:
        """Name, shipped value and what was learned: the context in GiB, and a factor on each kind of slack."""
        found = [(f"slack_{kind}_factor", 1.0, factor) for kind, factor in self.learned.slack.items()]
        if self.learned.context_gib is not None:
            shipped_gib = constants_for(Card(**self.entry.card))["context"]["gib"]
            found.insert(0, ("context_gib", shipped_gib, self.learned.context_gib))
        return found


def calibrate(folder: Path) -> Calibration:
    """Add a finished run to its card's calibration. Errors are those of `add_run`."""
    return Calibration(*add_run(Path(os.path.expanduser(str(folder))).resolve()))
