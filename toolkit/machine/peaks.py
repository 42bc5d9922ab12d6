"""Peaks of memory between two moments: what torch took of a card, and what this process holds of the host.

torch counts by itself; Linux counts the resident peak of a process and lets the process start that count anew, so that
neither is sampled and nothing between two looks is missed.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from toolkit.units import gib

PROC = Path("/proc/self")
FORGET_RESIDENT_PEAK = "5"  # of /proc/PID/clear_refs: man 5 proc
_largest_resident_gib = 0.0


def torch_peaks_gib() -> tuple[float, float] | None:
    """Peaks of allocated and reserved memory since the last reset; None without torch or a CUDA device."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return gib(torch.cuda.max_memory_allocated()), gib(torch.cuda.max_memory_reserved())


def resident_peak_gib() -> float:
    """The most that this process has held of the host's memory since it began."""
    return max(_largest_resident_gib, _resident_peak_gib())


def peaks_since_reset() -> dict[str, float]:
    """`allocated` and `reserved` in GiB on a card, else `resident`, since the last `reset_peaks`."""
    on_card = torch_peaks_gib()
    if on_card is not None:
        return {"allocated": on_card[0], "reserved": on_card[1]}
    return {"resident": _resident_peak_gib()}


def reset_peaks() -> None:
    """Count from here on. Where a system does not start its count anew, peaks go on being those since the start."""
    global _largest_resident_gib
    _largest_resident_gib = resident_peak_gib()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        (PROC / "clear_refs").write_text(FORGET_RESIDENT_PEAK)


def proportional_gib() -> float | None:
    """What this process holds now, shared pages divided among those that share them (PSS); None where none says."""
    with contextlib.suppress(OSError, StopIteration):
        lines = (PROC / "smaps_rollup").read_text().splitlines()
        return gib(1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:")))
    return None


def _resident_peak_gib() -> float:
    with contextlib.suppress(OSError, StopIteration):
        # not getrusage: what it counts goes over from the process that started this one
        lines = (PROC / "status").read_text().splitlines()
        return gib(1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")))
    if sys.platform == "win32":
        import psutil

        return gib(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes there and KiB on Linux
    return gib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
