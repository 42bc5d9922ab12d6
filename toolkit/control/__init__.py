"""Brains as plain state machines: numbers in, verdicts out. Nothing here trains, reads a file or loads torch."""

from __future__ import annotations
