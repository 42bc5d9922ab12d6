"""From a command line to a recipe's `main`, from a name to a policy, and from an error to one line."""

from __future__ import annotations

from toolkit.launch import examine
from toolkit.launch.examination import Examination
from toolkit.launch.frame import run_recipe, run_script
from toolkit.launch.opened import Opened, open_policy
from toolkit.launch.session import Session

__all__ = ["Examination", "Opened", "Session", "examine", "open_policy", "run_recipe", "run_script"]
