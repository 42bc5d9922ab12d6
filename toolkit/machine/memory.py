"""What this process takes of memory, as torch and the system count it."""

from __future__ import annotations

import sys

from toolkit.units import gib


def torch_peaks_gib() -> tuple[float, float] | None:
    """Peaks of allocated and reserved memory since the last reset; None without torch or a CUDA device."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return gib(torch.cuda.max_memory_allocated()), gib(torch.cuda.max_memory_reserved())


def resident_peak_gib() -> float:
    """The most that this process has held of the host's memory."""
    if sys.platform == "win32":
        import psutil

        return gib(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes there and KiB on Linux
    return gib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
