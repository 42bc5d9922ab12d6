"""From a command line to a recipe's `main`, and from an error to one line."""

from __future__ import annotations

from toolkit.launch.frame import run_recipe
from toolkit.launch.session import Session

__all__ = ["Session", "run_recipe"]
