"""Measure before and after, with intervals."""

from __future__ import annotations

from toolkit.evaluation.run import Measurement, measure

__all__ = ["Measurement", "measure"]
