"""The `toolkit` command as a person runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def toolkit(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it with environment variables added; 80 columns unless they say otherwise."""
    environment = os.environ | {"COLUMNS": "80"} | variables
    command = [sys.executable, "-m", "toolkit", *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
