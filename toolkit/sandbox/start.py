"""One sandbox from the outside: what it may use; start its processes, wait for them, read the supervisor's report."""

from __future__ import annotations

import ast
import contextlib
import marshal
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import SandboxError

Level = Literal["bubblewrap", "namespaces", "landlock", "rlimits"]
LEVELS: tuple[Level, ...] = ("bubblewrap", "namespaces", "landlock", "rlimits")
"""Strongest first."""
WITH_NAMESPACES: tuple[Level, ...] = ("bubblewrap", "namespaces")

INSIDE = Path(__file__).parent / "inside"
NOT_ENTERED = "the sandbox could not be entered: "
GRACE_S = 5.0  # for the start, and past the supervisor's own clock; a machine under load starts slowly
# With -I the hash seed could not be set, and the order of a set would change a verdict from run to run
_PYTHON_FLAGS = ("-P", "-s", "-S", "-X", "utf8")
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}
_FIRST_USER = 0x70000000  # from here to 0x7FFFFFFE no system gives out user ids (systemd.io/UIDS-GIDS)
_INSIDE_BUBBLEWRAP = "/inside"
_PRIVILEGES = ("CAP_SYS_ADMIN", "CAP_SETPCAP")  # for the way in: the private folder, then to drop them all


@cache
def interpreter() -> str:
    """The Python that runs the code: this one's, outside of any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def readable_paths() -> tuple[str, ...]:
    """What of the host is shown, read-only: the libraries of the system and of the Python installation."""
    prefix = os.path.realpath(sys.base_prefix)
    wanted = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", f"{prefix}/lib", f"{prefix}/lib64"]
    wanted.append(os.path.realpath(sysconfig.get_path("stdlib")))
    shown: list[str] = []
    for path in wanted:
        if os.path.exists(path) and not any(path == known or path.startswith(known + "/") for known in shown):
            shown.append(path)
    return tuple(shown)


@dataclass(frozen=True)
class Limits:
    """Limits of one sandbox. All that it can take at once: `processes` x `memory_mib` plus `disk_mib`.

    Each process is limited by itself, because only cgroups, which an ordinary user seldom has, limit a group's memory.
    """

    cpu_s: int = 4
    """Seconds of processor time for a process, its threads together; one more if it ignores the signal."""
    wall_s: float = 8.0
    """Seconds on the clock from the moment the sandbox stands, for everything that runs in it."""
    memory_mib: int = 512
    """Address space of a process, about 30 MiB of it the interpreter."""
    processes: int = 8
    """Processes and threads, the first one included; without namespaces there is one, whatever this says."""
    disk_mib: int = 32
    """The private folder, which is in memory where there are namespaces."""
    file_mib: int = 16
    """One file, standard output among them."""
    open_files: int = 32
    """Open descriptors of a process."""
    output_kib: int = 256
    """What is kept of standard output; more of it is never right."""


DEFAULT = Limits()


class Sandbox:
    """A started sandbox; leaving its `with` block ends it, whatever it is doing.

    Args:
        task: module of `inside` that runs the code: `script`, `serve` or `judge`.
        job: what that module needs.
        descriptors: pipes that its process keeps; the tests' process also keeps the report.

    Raises:
        SandboxError: the processes cannot be started.
    """

    def __init__(
        self, level: Level, limits: Limits, task: str, job: dict[str, Any], descriptors: tuple[int, ...] = ()
    ) -> None:
        self._wall_s = limits.wall_s
        self._held = contextlib.ExitStack()
        try:
            self._start(level, limits, task, job, descriptors)
        except OSError as error:
            self._held.close()
            raise SandboxError(f"the sandbox ({level}) did not start: {error}", "a process of its own") from error

    def _start(
        self, level: Level, limits: Limits, task: str, job: dict[str, Any], descriptors: tuple[int, ...]
    ) -> None:
        namespaces = level in WITH_NAMESPACES
        self._report = self._memory_file()
        described = self._memory_file()
        life, self._life = os.pipe()
        job = job | {
            "level": level,
            "task": task,
            "namespaces": namespaces,
            "landlock": level == "landlock",
            "limits": asdict(limits),
            "readable": readable_paths(),
            # A process of user 0 may fork without limit, so as root the code gets a user id of its own
            "user": _FIRST_USER + secrets.randbits(27) if namespaces and os.geteuid() == 0 else 0,
            # What the kernel counts with the code's own: the supervisor, and the process that entered
            "own_processes": 2 if level == "namespaces" and os.geteuid() != 0 else 1,
            "folder": "/tmp" if namespaces else self._held.enter_context(_private_folder()),  # noqa: S108
            "report": self._report,
            "life": life,
            "descriptors": (*descriptors, self._report) if task == "judge" else descriptors,
        }
        try:
            os.write(described, marshal.dumps(job))
            os.lseek(described, 0, os.SEEK_SET)
            self._process = subprocess.Popen(
                _command(level),
                stdin=described,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=(self._report, life, *descriptors),
                start_new_session=True,
            )
        except OSError:
            os.close(self._life)
            raise
        finally:
            os.close(life)

    def _memory_file(self) -> int:
        descriptor = os.memfd_create("sandbox")
        self._held.callback(os.close, descriptor)
        return descriptor

    def report(self) -> list[dict[str, Any]]:
        """Wait for the end, and return the supervisor's lines after `ready`.

        Raises:
            SandboxError: it could not be isolated as its level promises, so the code did not run.
        """
        said = self._wait(self._wall_s + GRACE_S)
        ready, *lines = os.pread(self._report, os.fstat(self._report).st_size, 0).split(b"\n")[:-1] or [b""]
        if not ready:
            why = said.decode(errors="replace").strip().rpartition("\n")[2] or "it ended without a word"
            raise SandboxError(NOT_ENTERED + why, "an isolated process", "toolkit doctor")
        found = []
        for line in lines:
            try:
                found.append(ast.literal_eval(line.decode()))
            except (ValueError, SyntaxError):  # the supervisor was killed while it wrote
                break
        return found

    def _wait(self, seconds: float) -> bytes:
        """Wait for the end; the supervisor's own clock is nearer, so that killing it is the last resort."""
        try:
            return self._process.communicate(timeout=seconds)[1]
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.communicate()[1]

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._life)  # the supervisor sees it, and kills and reaps what runs
        self._wait(GRACE_S)
        self._held.close()


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """On disk, for a level that cannot mount one; removed whatever the code has left in it."""
    folder = tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True)
    try:
        yield folder.name
    finally:
        try:
            folder.cleanup()
        except RecursionError:  # folders in folders, more than Python follows
            subprocess.run(["rm", "-rf", "--", folder.name], check=False)


def _command(level: Level) -> list[str]:
    if level != "bubblewrap":
        return [interpreter(), *_PYTHON_FLAGS, str(INSIDE / "enter.py")]
    command = [shutil.which("bwrap") or "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL"]
    privileges = _PRIVILEGES
    if os.geteuid() == 0:
        privileges = (*privileges, "CAP_SETUID", "CAP_SETGID")
    else:
        command.append("--unshare-user")
    for privilege in privileges:
        command += ["--cap-add", privilege]
    shown = [*readable_paths(), interpreter()]
    # Made by bubblewrap itself, the folders on the way would be its user's alone
    for parent in sorted({str(parent) for path in shown for parent in Path(path).parents} - {"/"}):
        command += ["--dir", parent]
    for path in shown:
        command += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    command += ["--ro-bind", str(INSIDE), _INSIDE_BUBBLEWRAP]
    command += ["--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"]  # noqa: S108
    return [*command, "--", interpreter(), *_PYTHON_FLAGS, f"{_INSIDE_BUBBLEWRAP}/enter.py"]
