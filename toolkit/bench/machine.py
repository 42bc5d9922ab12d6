"""The machine just before a cell starts: who else works on it, and how fast it says that it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.machine.devices import Gpu, other_processes
from toolkit.units import gib

BUSY_FRAC = 0.25
"""Of all cores, in use before the cell runs: from there on its times are not those of a quiet machine."""
LOOK_S = 0.2
"""How long that is looked at. The load average would not do: it still has the cell before in it."""
_CLOCKS = {"sm_mhz": "NVML_CLOCK_SM", "memory_mhz": "NVML_CLOCK_MEM"}


def describe(gpus: Sequence[Gpu]) -> dict[str, Any]:
    """Use of the cores, free host memory, threads; the card's clocks, heat, power and foreign processes, or the CPU.

    `is_quiet` is False where times will suffer: another process computes on the card, or the cores are taken.
    """
    import psutil

    busy = psutil.cpu_percent(LOOK_S) / 100
    found: dict[str, Any] = {
        "load_1min": round(psutil.getloadavg()[0], 2),
        "busy_frac": round(busy, 2),
        "free_host_gib": round(gib(psutil.virtual_memory().available), 1),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "others_on_card": 0,
        "is_quiet": busy < BUSY_FRAC,
    }
    if not gpus:
        frequency = psutil.cpu_freq()
        return found | {"cpu": _cpu_name(), "cpu_mhz": round(frequency.current) if frequency else None}
    others = other_processes(gpus[0])
    found |= {
        "others_on_card": len(others),
        "others": [{"program": process.name, "gib": process.gib} for process in others],
        "is_quiet": found["is_quiet"] and not others,
        "free_card_gib": round(gpus[0].free_gib, 2),
        "driver": gpus[0].driver_version,
    }
    return found | _of_the_card(gpus[0])


def in_words(machine: Mapping[str, Any]) -> str:
    """Why times measured now are not those of a quiet machine; empty where they are."""
    n_others = machine["others_on_card"]
    if n_others:
        return "1 other process computes on the card" if n_others == 1 else f"{n_others} others compute on the card"
    return "" if machine["is_quiet"] else f"other programs take {machine['busy_frac']:.0%} of the cores"


def _of_the_card(gpu: Gpu) -> dict[str, Any]:
    """What the driver says of clocks, heat and power; figures that it does not give are left out.

    The calls have not run on a card yet.
    """
    import pynvml

    found: dict[str, Any] = {}
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(gpu.index)
    except pynvml.NVMLError:
        return found
    asked: dict[str, tuple[Any, int]] = {}
    for name, kind in _CLOCKS.items():
        asked[name] = pynvml.nvmlDeviceGetClockInfo, getattr(pynvml, kind)
        asked[f"max_{name}"] = pynvml.nvmlDeviceGetMaxClockInfo, getattr(pynvml, kind)
    asked["celsius"] = (pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU)
    for name, (ask, kind) in asked.items():
        try:
            found[name] = ask(handle, kind)
        except pynvml.NVMLError:  # a card or a container that does not say
            continue
    for name, ask_milliwatts in (
        ("watts", pynvml.nvmlDeviceGetPowerUsage),
        ("limit_watts", pynvml.nvmlDeviceGetEnforcedPowerLimit),
    ):
        try:
            found[name] = round(ask_milliwatts(handle) / 1000)
        except pynvml.NVMLError:
            continue
    pynvml.nvmlShutdown()
    return found


def _cpu_name() -> str | None:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
