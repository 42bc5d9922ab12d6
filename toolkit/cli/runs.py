"""`toolkit runs ...`: the flags of its sub-verbs. They read what runs have left, and none loads torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

_Folder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")]


@dataclass(frozen=True)
class Ls:
    """The runs in a folder: how each ended, its steps, its reward, accuracy before and after."""

    folder: _Folder = Path("runs")
    """A folder of runs; without it runs/ here."""
    json: bool = False
    """Print one JSON array."""

    def run(self) -> int:
        from toolkit.runs.record import find_runs, read_record

        listed = [read_record(path).summary() for path in find_runs(self.folder.expanduser())]
        if self.json:
            print(json.dumps(listed, indent=2, ensure_ascii=False))
            return 0
        from toolkit.display.console import console
        from toolkit.display.runs import listing

        console.print(listing(listed, self.folder))
        return 0


RUNS_VERBS = {"ls": Ls}
