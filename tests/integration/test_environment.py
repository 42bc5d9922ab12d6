"""The environment in a process that was not prepared for it."""

from __future__ import annotations

import subprocess
import sys


def test_an_engine_that_was_imported_first_is_refused() -> None:
    code = "import torch; from toolkit.compat.environment import *; set_before_imports(Situation())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ContractError: torch was imported before the environment was set" in done.stderr
