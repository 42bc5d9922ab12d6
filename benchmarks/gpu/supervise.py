"""Cells in processes of their own, with a time limit. However one ends, there is a result.

A process imports its engine first and then waits for its cell, so that the next one can import while this one measures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.gpu.cells import Cell
from toolkit.machine.devices import Gpu

ROOT = Path(__file__).parents[2]
GRACE_S = 5.0


@dataclass(frozen=True)
class Workplace:
    """What the cells of one check share."""

    gpu: Gpu | None
    models: Path
    """Folder of the random checkpoints."""
    work: Path
    """For what the cells write; each has a folder of its own there."""
    log: IO[bytes]
    """Gets everything that the cells print."""


@dataclass
class CellProcess:
    """The process of one cell: importing from the start, measuring from `run` on."""

    cell: Cell
    place: Workplace
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.place.work / self.cell.name.replace(" ", "_")
        self.folder.mkdir(parents=True)
        start = {"device": "cuda" if self.place.gpu else "cpu", "cell": asdict(self.cell)}
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.worker", json.dumps(start)],
                cwd=self.folder,  # engines write caches where they stand
                env=child_environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, limit_s: float, context_gib: float) -> dict[str, Any]:
        """Measure the cell and return what was found, with `status`, `why` and `wall_s`.

        Status: `ran`, `out_of_memory`, `failed` or `timed_out`. `context_gib`: see `update.Place`.
        """
        begin, result = time.monotonic(), self.folder / "result.json"
        folders = {"models": str(self.place.models), "work": str(self.folder), "result": str(result)}
        try:
            code = self._measure(json.dumps({**folders, "context_gib": context_gib}), limit_s)
        finally:
            self.end()
        wall = {"wall_s": round(time.monotonic() - begin, 1)}
        if code is None:
            return {"status": "timed_out", "why": f"stopped after {limit_s:.0f} s"} | wall
        if result.exists():
            return json.loads(result.read_text(encoding="utf-8")) | wall
        how = f"signal {-code}, as when host memory runs out" if code < 0 else f"exit code {code}"
        return {"status": "failed", "why": f"ended with {how} and left no result"} | wall

    def end(self) -> None:
        """Stop the process, if it runs, and keep what it printed."""
        stop(self._process)
        self.place.log.write(f"\n===== {self.cell.name}\n".encode() + (self.folder / "log").read_bytes())
        self.place.log.flush()

    def _measure(self, request: str, limit_s: float) -> int | None:
        """The exit code, or None where the limit was reached."""
        try:
            if self._process.stdin:
                self._process.stdin.write(f"{request}\n".encode())
                self._process.stdin.flush()
            return self._process.wait(limit_s)
        except BrokenPipeError:  # it ended while it imported
            return self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return None


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it started, and wait until the card has its memory back."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def child_environment() -> dict[str, str]:
    """The environment with this checkout in front, so that nothing need be installed."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def end_with_parent() -> None:
    """In a child: leave when the process that started it is gone, even killed; nothing goes on holding the card."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()
