"""Which isolation this machine can give: each level is tried, and believed only when it holds what it promises."""

from __future__ import annotations

import compileall
import json
import platform
import secrets
import shutil
import socket
import sys
from dataclasses import dataclass
from functools import cache

from toolkit.errors import SandboxError
from toolkit.sandbox.inside.filters import ARCHITECTURES
from toolkit.sandbox.run import run_script
from toolkit.sandbox.start import INSIDE, LEVELS, NOT_ENTERED, Level, Limits

# Tries what the level must refuse. An abstract socket belongs to a network as a port does, and disturbs nobody
_PROBE = """
import json, os, socket, sys
import ctypes, decimal, random  # the standard library is there
seen = []
file, address = json.loads(input())
try:
    open(file).close()
    seen.append("files")
except OSError:
    pass
try:
    socket.socket(socket.AF_UNIX).connect(address)
    seen.append("network")
except OSError:
    pass
if os.environ:
    seen.append("environment")
open("private", "w").close()
print(json.dumps(seen))
"""
_PROMISED: dict[Level, set[str]] = {level: {"files", "network", "environment"} for level in LEVELS}
_PROMISED["rlimits"] = {"network", "environment"}


@dataclass(frozen=True)
class Isolation:
    """What `toolkit doctor` tells of the sandbox."""

    level: Level | None
    """The strongest level that works here; None: none does."""
    refused: tuple[tuple[Level, str], ...]
    """Stronger levels and why each does not work here."""

    @property
    def why(self) -> str:
        """The reasons on one line; empty for the strongest level."""
        return "; ".join(f"no {level}: {why}" for level, why in self.refused)


@cache
def find_isolation() -> Isolation:
    """Try the levels, strongest first; a tenth of a second for each, once a process."""
    refused: list[tuple[Level, str]] = []
    for level in LEVELS:
        why = why_not(level)
        if not why:
            return Isolation(level, tuple(refused))
        refused.append((level, why))
    return Isolation(None, tuple(refused))


@cache
def why_not(level: Level) -> str:
    """Why a level cannot be used here; empty when it can."""
    if sys.platform != "linux":
        return f"{platform.system()} has none of what it is made of; Linux has, also under WSL"
    if platform.machine() not in ARCHITECTURES:
        return f"its filter knows {' and '.join(ARCHITECTURES)}, this machine is {platform.machine()}"
    if level == "bubblewrap" and not shutil.which("bwrap"):
        return "bwrap is not installed"
    compileall.compile_dir(INSIDE, quiet=2)  # where nobody has: no sandbox can write what it compiles
    address = f"\0toolkit-{secrets.token_hex(16)}"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            told = json.dumps([__file__, address])
            run = run_script(_PROBE, [told], level, Limits(wall_s=10.0))[0]
    except SandboxError as error:
        return error.found.removeprefix(NOT_ENTERED)
    if run.why:
        return run.why
    broken = _PROMISED[level] & set(json.loads(run.stdout))
    return f"it lets the code reach the host's {' and '.join(sorted(broken))}" if broken else ""


def choose_level(allow_unsafe_code: bool = False) -> Level:
    """The strongest level that works here.

    Raises:
        SandboxError: no level works, or only `rlimits`, which leaves the host's files readable, without the flag.
    """
    found = find_isolation()
    if found.level is None:
        raise SandboxError(
            f"model-written code cannot be run here ({found.refused[0][1]})", "Linux, or WSL", "leave code rewards out"
        )
    if found.level == "rlimits" and not allow_unsafe_code:
        raise SandboxError(
            f"model-written code could read this machine's files ({found.why})",
            "bubblewrap, user namespaces or Landlock",
            "apt install bubblewrap, or --allow_unsafe_code in a container that holds nothing of worth",
        )
    return found.level
