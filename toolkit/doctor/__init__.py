"""Can this machine run the main job, and if not, which line fixes it? Loads no torch."""

from __future__ import annotations

from toolkit.doctor.before import check_before_loading
from toolkit.doctor.checks import run_checks
from toolkit.doctor.facts import Facts, best_first, collect
from toolkit.doctor.report import Report, examine, render

__all__ = ["Facts", "Report", "best_first", "check_before_loading", "collect", "examine", "render", "run_checks"]
