"""The supervisor: forks a process for the code, ends it in time, and reports how it ended.

It runs nothing of the code's, and its memory and its report are out of the code's reach. In a process namespace it is
the first process: when it ends, everything that the code has started is killed with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes as long as half a start of the interpreter
    from typing import Any

_TICK_S = 0.1
_MAX_FILES, _MAX_DEPTH = 4096, 32


def supervise(job: dict[str, Any]) -> int:
    """Return the number of its part in each process that gets the code; the supervisor itself exits.

    A job has one part, or one for each input of a script. Its lines: `{"ready": True}`, then for each part that ended
    `{"part", "exit_code", "stdout", "cut", "error"}` (a negative code is a signal), or `{"stopped": why}`.
    """
    report = job["report"]
    write_line(report, {"ready": True})
    inputs = job.get("inputs", [""])
    child = 0
    deadline = time.monotonic() + job["limits"]["wall_s"]

    def look(*_: Any) -> None:
        why = "time" if time.monotonic() >= deadline else "disk" if _over_disk(job) else ""
        if not why and _is_closed(job["life"]):
            why = "closed"
        if why and child:
            write_line(report, {"stopped": why})
            with contextlib.suppress(ChildProcessError):
                _end(child, job)
            os._exit(0)

    os.set_blocking(job["life"], False)
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _TICK_S, _TICK_S)
    for number, text in enumerate(inputs):
        stdin, stdout, stderr = (os.memfd_create(name) for name in ("stdin", "stdout", "stderr"))
        os.write(stdin, text.encode(errors="surrogatepass"))
        os.lseek(stdin, 0, os.SEEK_SET)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            _take_descriptors(job, (stdin, stdout, stderr))
            return number
        status = os.waitpid(child, 0)[1]
        child = 0
        write_line(report, {"part": number, **_outcome(job, status, stdout, stderr)})
        _end(0, job)
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
    os._exit(0)


def write_line(descriptor: int, line: dict[str, Any]) -> None:
    """One dict as a Python literal, on one line, in one write; json would double the time of a start."""
    os.write(descriptor, ascii(line).encode() + b"\n")


def _take_descriptors(job: dict[str, Any], standard: tuple[int, int, int]) -> None:
    """Standard streams, and those that the job says; no other is left open."""
    kept = job["descriptors"]
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    for descriptor in range(3, max(*standard, job["report"], job["life"], *kept) + 1):
        if descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _outcome(job: dict[str, Any], status: int, stdout: int, stderr: int) -> dict[str, Any]:
    limit = job["limits"]["output_kib"] * 1024
    out = os.pread(stdout, limit + 1, 0)
    error = os.pread(stderr, 2000, max(os.fstat(stderr).st_size - 2000, 0)).decode(errors="replace").strip()
    return {
        "exit_code": os.waitstatus_to_exitcode(status),
        "stdout": out[:limit].decode(errors="replace"),
        "cut": len(out) > limit,
        "error": error.rpartition("\n")[2][:200],
    }


def _end(child: int, job: dict[str, Any]) -> None:
    """Kill what runs: every other process of the namespace, or the one that there is."""
    if job["namespaces"]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    elif child and os.waitpid(child, os.WNOHANG)[0] == 0:
        os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _is_closed(life: int) -> bool:
    """Whether the other end of a pipe, on which nothing is ever said, is closed: nobody waits for this any more."""
    try:
        return os.read(life, 1) == b""
    except BlockingIOError:
        return False


def _over_disk(job: dict[str, Any]) -> bool:
    """Whether a private folder on the host's disk has grown too large; one in memory has its own limit.

    A folder that cannot be looked into, and one too deep to name, count as too large: who makes them hides something.
    """
    if job["namespaces"]:
        return False
    n_files, n_bytes, folders = 0, 0, [(job["folder"], 0)]
    while folders:
        path, depth = folders.pop()
        try:
            with os.scandir(path) as entries:
                found = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
        except FileNotFoundError:
            continue
        except OSError:
            return True
        n_files += len(found)
        n_bytes += sum(status.st_blocks * 512 for _, status in found)
        if n_files > _MAX_FILES or n_bytes > job["limits"]["disk_mib"] * 2**20 or depth > _MAX_DEPTH:
            return True
        folders += [(path, depth + 1) for path, status in found if stat.S_ISDIR(status.st_mode)]
    return False
