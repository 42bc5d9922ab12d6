"""The cells of a card check in processes of their own."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.gpu.cells import Cell
from toolkit.machine.child import Child
from toolkit.machine.devices import Gpu

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Workplace:
    """What the cells of one check share."""

    gpu: Gpu | None
    models: Path
    """Folder of the random checkpoints."""
    work: Path
    """For what the cells write; each has a folder of its own there."""
    log: IO[bytes]
    """Gets everything that the cells print."""


class CellProcess:
    """The process of one cell: importing from the start, measuring from `run` on."""

    def __init__(self, cell: Cell, place: Workplace) -> None:
        self.cell, self.place = cell, place
        self.folder = place.work / cell.name.replace(" ", "_")
        start = {"device": "cuda" if place.gpu else "cpu", "cell": asdict(cell)}
        command = [sys.executable, "-m", "benchmarks.gpu.worker", json.dumps(start)]
        self.child = Child(command, self.folder, child_environment())

    def run(self, limit_s: float, context_gib: float) -> dict[str, Any]:
        """Measure the cell; see `Child.run`. `context_gib`: see `update.Place`."""
        request = {"models": str(self.place.models), "work": str(self.folder), "context_gib": context_gib}
        found = self.child.run(request, limit_s)
        self.end()
        return found

    def end(self) -> None:
        """Stop the process, if it runs, and keep what it printed."""
        self.child.end()
        self.place.log.write(f"\n===== {self.cell.name}\n".encode() + self.child.log.read_bytes())
        self.place.log.flush()


def child_environment() -> dict[str, str]:
    """The environment with this checkout in front, so that nothing need be installed."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)}
