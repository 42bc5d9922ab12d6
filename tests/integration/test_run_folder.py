"""One run folder and two processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from toolkit import runs


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    run = runs.create("recipe", tmp_path / "run", {"seed": 3})
    code = f"from pathlib import Path; from toolkit import runs; runs.reopen(Path({str(run.folder)!r}))"
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process" in refused.stderr
    run.close()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
