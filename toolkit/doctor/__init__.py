"""Can this machine run the main job, and if not, which line fixes it? Loads no torch."""

from __future__ import annotations

from toolkit.doctor.checks import run_checks
from toolkit.doctor.facts import Facts, collect
from toolkit.doctor.report import Report, examine, render

__all__ = ["Facts", "Report", "collect", "examine", "render", "run_checks"]
