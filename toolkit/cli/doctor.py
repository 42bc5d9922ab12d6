"""`toolkit doctor`: what this machine can run."""

from __future__ import annotations

import json
from dataclasses import dataclass

EXIT_CANNOT_RUN = 1


@dataclass(frozen=True)
class Doctor:
    """Say what this machine can run, and the line that fixes it. Exit code 1 when the main job cannot run."""

    json: bool = False
    """Print one JSON object instead of the table."""

    def run(self) -> int:
        """0 when the main job can run here, else 1."""
        from toolkit import doctor
        from toolkit.display.console import console

        report = doctor.examine(doctor.collect())
        if self.json:
            print(json.dumps(report.as_json(), indent=2))
        else:
            console.print(doctor.render(report), crop=False)
        return 0 if report.can_run else EXIT_CANNOT_RUN
