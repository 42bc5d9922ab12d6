"""One cell of a benchmark in a process of its own, with a time limit: however it ends, there is a result.

The child imports what it needs from its start on, then waits for its request, one line of JSON on its standard input,
so that the next cell can import while this one measures. It writes what it found to the file that the request names.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GRACE_S = 5.0


class Child:
    """A process that was started in a folder of its own; what it prints is in `log` there."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self.log, self._result = folder / "log", folder / "result.json"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,  # engines write caches where they stand
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Hand it its request and return what it found, with `status`, `why` and `wall_s`; then it is gone.

        `status` is its own word, or `failed` or `timed_out`. The request gets the path of the result as `result`. What
        a child that is ended, or dies, has written there by then, without a `status`, is kept.
        """
        begin = time.monotonic()
        try:
            code = self._wait(json.dumps({**request, "result": str(self._result)}), limit_s)
        finally:
            self.end()
        found = json.loads(self._result.read_text(encoding="utf-8")) if self._result.exists() else {}
        found["wall_s"] = round(time.monotonic() - begin, 1)
        if code is None:  # whatever it says of itself: told to end, a run stops as for Ctrl-C
            return found | {"status": "timed_out", "why": f"stopped after {limit_s:.0f} s"}
        if "status" in found:
            return found
        how = f"signal {-code}, as when host memory runs out" if code < 0 else f"exit code {code}"
        return found | {"status": "failed", "why": f"ended with {how} and left no result"}

    def end(self) -> None:
        """End it with all that it started."""
        stop(self.process)

    def _wait(self, request: str, limit_s: float) -> int | None:
        """The exit code, or None where the limit was reached."""
        try:
            if self.process.stdin:
                self.process.stdin.write(f"{request}\n".encode())
                self.process.stdin.flush()
            return self.process.wait(limit_s)
        except BrokenPipeError:  # it ended while it imported
            return self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return None


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session with all that it started, and wait until a card has its memory back."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    _end_session(process.pid)


def _end_session(session: int) -> None:
    """End what a process that led this session and is gone has left in it.

    The kernel gives a number to no other process while it is that of a session; where one has it, the session is gone.
    """
    import psutil

    pids = psutil.pids()
    if session in pids:
        return
    for pid in pids:
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to ask
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)


def end_with_parent() -> None:
    """In a child: leave when the process that started it is gone, even killed; nothing goes on holding the card."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()
