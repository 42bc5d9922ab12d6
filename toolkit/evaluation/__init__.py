"""Measure before and after, with intervals."""

from __future__ import annotations

from toolkit.evaluation.run import Measurement, measure, measure_once

__all__ = ["Measurement", "measure", "measure_once"]
