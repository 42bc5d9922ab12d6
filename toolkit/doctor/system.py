"""The operating system under Python: which shell, WSL and its settings, and whose graphics cards are built in."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolkit.units import gib

Shell = Literal["bash", "cmd", "powershell"]

WSL_USERS = Path("/mnt/c/Users")
WSL_DRIVER = Path("/usr/lib/x86_64-linux-gnu/libcuda.so.1")  # WSL's own library is in /usr/lib/wsl/lib
PCI_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


@dataclass(frozen=True)
class Wsl:
    """The Windows Subsystem for Linux as it was set up."""

    ram_gib: float
    idle_timeout: str | None = None
    """`vmIdleTimeout` of `.wslconfig`, empty where the file has none, None where it could not be looked for."""
    has_linux_driver: bool = False
    """Whether a libcuda of a Linux driver stands where Windows' own one belongs."""


def find_shell() -> Shell:
    """The shell that this process was started from: of bash's family everywhere but on Windows.

    On Windows that is seen from the parents, because cmd and PowerShell pass the same variables on. Not yet run there.
    """
    if platform.system() != "Windows":
        return "bash"
    try:
        import psutil
    except ImportError:
        return "powershell"
    try:
        return shell_of(parent.name() for parent in psutil.Process().parents())
    except psutil.Error:
        return "powershell"


def shell_of(parents: Iterable[str]) -> Shell:
    """The first shell among the names of a process's parents, nearest first; Windows' own default when none is."""
    for name in parents:
        match name.lower().removesuffix(".exe"):
            case "cmd":
                return "cmd"
            case "powershell" | "pwsh":
                return "powershell"
            case "bash" | "sh" | "zsh" | "fish":
                return "bash"
    return "powershell"


def find_wsl() -> Wsl | None:
    """How WSL is set up; None outside of it. Not yet run there."""
    if platform.system() != "Linux" or "microsoft" not in platform.release().lower():
        return None
    ram = gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return Wsl(ram, idle_timeout_of(WSL_USERS), WSL_DRIVER.exists())


def idle_timeout_of(users: Path) -> str | None:
    """`vmIdleTimeout` in the `.wslconfig` of any Windows user whose folder can be read; see `Wsl.idle_timeout`."""
    try:
        files = [folder / ".wslconfig" for folder in users.iterdir()]
    except OSError:
        return None
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            name, is_set, value = line.partition("=")
            if is_set and name.strip().lower() == "vmidletimeout":
                return value.strip()
    return ""


def cards_by_vendor(folder: Path = Path("/sys/class/drm")) -> tuple[str, ...]:
    """Makers of the graphics cards, read from the kernel; empty off Linux, in most containers and under WSL."""
    found = set()
    for file in folder.glob("card*/device/vendor"):
        try:
            found.add(PCI_VENDORS.get(file.read_text(encoding="utf-8").strip(), ""))
        except OSError:
            continue
    return tuple(sorted(found - {""}))
