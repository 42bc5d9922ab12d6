"""Measure before and after, with intervals."""

from __future__ import annotations

from toolkit.evaluation.run import Exam, Measurement, measure

__all__ = ["Exam", "Measurement", "measure"]
