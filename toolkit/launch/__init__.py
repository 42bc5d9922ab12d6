"""From a command line to a recipe's `main`, from a name to a policy, and from an error to one line."""

from __future__ import annotations

from toolkit.launch.frame import run_recipe
from toolkit.launch.opened import Opened, open_policy
from toolkit.launch.session import Session

__all__ = ["Opened", "Session", "open_policy", "run_recipe"]
