"""The command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def test_help_loads_no_verb() -> None:
    code = "import sys; from toolkit import cli; cli.main(['--help']); sys.exit('toolkit.doctor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("args", ["--version", "doctor --json"], ids=["buffered to the end", "longer than a buffer"])
def test_reader_that_leaves_early_causes_no_traceback(args: str) -> None:
    command = f"{sys.executable} -m toolkit {args} | head -c 0"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
