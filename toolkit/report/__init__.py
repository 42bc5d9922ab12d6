"""The page of one run, of several runs: HTML files that work offline, made of what run folders hold."""

from __future__ import annotations

from toolkit.report.pictures import write_pictures
from toolkit.report.write import write_report, write_several

__all__ = ["write_pictures", "write_report", "write_several"]
