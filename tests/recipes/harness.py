"""Run a recipe as a user does: another process, from the repository root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import parquet

ROOT = Path(__file__).parents[2]
GSM8K_R1 = ROOT / "recipes" / "gsm8k_r1.py"

# What makes an embedded run a matter of seconds; the tests that need the full run do not use it
QUICK = ("--per_device_train_batch_size", "16", "--n_eval", "16")


@dataclass
class Result:
    """A finished recipe."""

    returncode: int
    stdout: str
    stderr: str

    def error_lines(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.strip()]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without cards and colours; a PYTHONPATH in `more` comes before the present one."""
    paths = [path for path in (more.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")) if path]
    plain = {"CUDA_VISIBLE_DEVICES": "", "NO_COLOR": "1", "COLUMNS": "120", "PYTHONPATH": os.pathsep.join(paths)}
    return os.environ | plain | more


def run(*args: str | Path, env: Mapping[str, str] | None = None, timeout: float = 300) -> Result:
    """Run gsm8k_r1.py with arguments; `env` is added to the environment, `timeout` is in seconds."""
    command = [sys.executable, str(GSM8K_R1), *map(str, args)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(**env or {}), capture_output=True, text=True, timeout=timeout, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def start(*args: str | Path) -> subprocess.Popen[str]:
    """Start gsm8k_r1.py and leave it running."""
    return subprocess.Popen(
        [sys.executable, str(GSM8K_R1), *map(str, args)],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def completions(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of `before`, `after` or `step_00001`, as pandas or any other reader of Parquet gives them."""
    return parquet.read_table(folder / "completions" / f"{name}.parquet").to_pylist()


def summary(folder: Path) -> dict[str, Any]:
    """summary.json."""
    return json.loads((folder / "summary.json").read_text())
