"""Random checkpoints, written ahead of the cells in a process of their own: `python -m benchmarks.gpu.checkpoints`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

from benchmarks.gpu.cells import folder_of, shape_of
from benchmarks.gpu.supervise import ROOT, child_environment
from toolkit.machine.child import end_with_parent, stop
from toolkit.models import random_cache
from toolkit.models.random import Dtype

POLL_S = 0.1
Wanted = tuple[str, bool]
"""Size, and whether it is in 4 bit."""


def size_gib(wanted: Wanted, dtype: Dtype) -> float:
    """What a checkpoint takes on disk."""
    return random_cache.size_gib(shape_of(wanted[0]), dtype, in_4bit=wanted[1])


class Checkpoints:
    """While entered, a process writes what is wanted, in order; `wait` says when one is there."""

    def __init__(self, folder: Path, wanted: Sequence[Wanted], dtype: Dtype, log: IO[bytes]) -> None:
        self.folder, self._wanted, self._dtype, self._log = folder, wanted, dtype, log

    def __enter__(self) -> Self:
        request = json.dumps({"folder": str(self.folder), "wanted": self._wanted, "dtype": self._dtype})
        command = [sys.executable, "-m", "benchmarks.gpu.checkpoints", request]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=child_environment(), stdin=subprocess.PIPE, stdout=self._log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(self, *error: object) -> None:
        stop(self._process)

    def wait(self, wanted: Wanted, limit_s: float) -> str:
        """Wait until a checkpoint is whole; the reason when it will not be."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            ended = self._process.poll() is not None  # asked first, or the last one written could be missed
            if (folder_of(self.folder, *wanted) / "config.json").exists():
                return ""
            if ended:
                return f"the random checkpoint could not be written (exit code {self._process.returncode})"
            time.sleep(POLL_S)
        return "the random checkpoint was not written in time"


def main(request: dict[str, Any]) -> None:
    """Write the random models in order; what is there already stays."""
    for size, in_4bit in request["wanted"]:
        folder = folder_of(Path(request["folder"]), size, in_4bit)
        random_cache.write_whole(shape_of(size), folder, dtype=request["dtype"], in_4bit=in_4bit)


if __name__ == "__main__":
    end_with_parent()
    main(json.loads(sys.argv[1]))
