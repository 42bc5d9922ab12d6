"""Which card is there, who works on it and what this process takes of it; torch is not loaded for it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from toolkit.units import gib

POLL_S = 0.25
LIKE_GIB = "TOOLKIT_CARD_GIB"
"""Environment variable: a process is to take its card for one of so many GiB; see `smaller_card`."""


@dataclass(frozen=True)
class Gpu:
    """One CUDA device as the driver reports it. Memory is what the driver counts, not the label on the box."""

    index: int
    name: str
    total_gib: float
    free_gib: float
    compute_capability: tuple[int, int]
    driver_version: str
    uuid: str = ""
    visible_as: str = "0"
    """What `CUDA_VISIBLE_DEVICES` must say to get this one alone."""
    withheld_gib: float = 0.0
    """What of the real card is left out of the figures above, where it stands for a smaller one."""

    @property
    def has_bf16(self) -> bool:
        """Tensor cores that take bfloat16 exist from compute capability 8.0 (Ampere) on."""
        return self.compute_capability >= (8, 0)

    @property
    def is_slice(self) -> bool:
        """A MIG slice, of whose memory nothing is known here: the figures are the whole card's."""
        return self.visible_as.startswith("MIG-")


@dataclass(frozen=True)
class ProcessMemory:
    """What a process holds of a card. GiB, and how it was found."""

    gib: float
    source: str


@dataclass(frozen=True)
class CardProcess:
    """Another process that computes on a card, as the driver lists it."""

    pid: int
    name: str
    """Its program; empty where the driver does not know it, which is so from inside a container."""
    gib: float | None
    """What it holds; None where the driver does not say, as on Windows."""


class PeakWatch:
    """The largest answer of `ask` while entered; a thread asks every `interval_s` seconds.

    An answer of None, "not now", is passed over. What comes and goes between two polls is missed; torch's allocator
    keeps what it once took, so that a process's peak stands long enough.
    """

    def __init__(self, ask: Callable[[], ProcessMemory | None], interval_s: float = POLL_S) -> None:
        self._ask, self._interval_s = ask, interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="memory watch", daemon=True)
        self.peak: ProcessMemory | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _poll(self) -> None:
        while True:
            now = self._ask()
            if now is not None and (self.peak is None or now.gib > self.peak.gib):
                self.peak = now
            if self._ended.wait(self._interval_s):
                return


def find_gpus() -> tuple[list[Gpu], str]:
    """Return the visible CUDA devices, in the order of `CUDA_VISIBLE_DEVICES`, and the reason when there are none.

    The variable may hold indices (the driver's order) or UUIDs; of MIG slices nothing is known, so they are left to
    CUDA: then the first card stands for them.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return [], "CUDA_VISIBLE_DEVICES hides every device"
    import pynvml

    try:
        pynvml.nvmlInit()
        gpus = [_describe(pynvml, i) for i in range(pynvml.nvmlDeviceGetCount())]
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return [], f"no CUDA device ({str(error).lower()})"
    wanted = [part.strip() for part in visible.split(",")] if visible else [gpu.visible_as for gpu in gpus]
    chosen = [_as_asked(replace(gpu, visible_as=name)) for name in wanted for gpu in gpus if _is_named(gpu, name)]
    return chosen, "" if chosen else "the driver reports no CUDA device that CUDA_VISIBLE_DEVICES names"


def _as_asked(gpu: Gpu) -> Gpu:
    """The card, or the smaller one that this process is to take it for."""
    withheld = max(0.0, gpu.total_gib - float(os.environ.get(LIKE_GIB, "inf")))
    free, total = max(0.0, gpu.free_gib - withheld), gpu.total_gib - withheld
    return replace(gpu, total_gib=total, free_gib=free, withheld_gib=withheld)


def _is_named(gpu: Gpu, name: str) -> bool:
    return name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name)) or name.startswith("MIG-")


def _describe(pynvml, index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    name, driver = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion()
    uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    total, free = gib(memory.total), gib(memory.free)
    return Gpu(index, str(name), total, free, (major, minor), str(driver), uuid, str(index))


def other_processes(gpu: Gpu) -> list[CardProcess]:
    """Return the other processes that compute on a card, largest first; none where the driver does not list them (WSL).

    The calls have not run on a card yet.
    """
    import pynvml

    found: list[CardProcess] = []
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(gpu.index)
        for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
            held = None if process.usedGpuMemory is None else gib(process.usedGpuMemory)
            if process.pid != os.getpid():
                found.append(CardProcess(process.pid, _program(pynvml, process.pid), held))
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []
    return sorted(found, key=lambda process: process.gib or 0.0, reverse=True)


def foreign_gib(gpu: Gpu) -> float | None:
    """GiB that processes hold of a card which are neither this one nor its children (vLLM's engine may be one).

    None where the driver does not say: on WSL, and in a container, whose own process it lists by another number. The
    calls have not run on a card yet.
    """
    import psutil
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(gpu.index)
        listed = {process.pid: process.usedGpuMemory for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    return held_by_others(listed, own)


def held_by_others(listed: Mapping[int, int | None], own: set[int]) -> float | None:
    """GiB of the listed processes (pid -> bytes) that are not among `own`; None where no own one is listed."""
    if not own & listed.keys():
        return None
    return gib(sum(held or 0 for pid, held in listed.items() if pid not in own))


def host_gib() -> float:
    """The host's memory."""
    import psutil

    return gib(psutil.virtual_memory().total)


def _program(pynvml, pid: int) -> str:
    try:
        path = str(pynvml.nvmlSystemGetProcessName(pid))
    except pynvml.NVMLError:
        return ""
    return path.replace("\\", "/").rpartition("/")[2]


def process_memory(
    listed: Mapping[int, int | None], pid: int, free_before_gib: float, free_now_gib: float
) -> ProcessMemory:
    """What process `pid` holds, from the driver's list of processes (pid -> bytes) and the card's free memory.

    The list is not to be had everywhere: in a container the driver gives the host's pids (NVIDIA/nvidia-docker#179) or
    0 bytes (Project-HAMi/HAMi-core#112), and on WSL None. Then it is what the card's free memory fell by since
    `free_before_gib`, in which another process that grew or ended meanwhile is counted, too.
    """
    held = listed.get(pid)
    if held:
        return ProcessMemory(gib(held), "the driver's list of processes")
    return ProcessMemory(max(0.0, free_before_gib - free_now_gib), "the fall of the card's free memory")


def _has_cuda_context() -> bool:
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    # While another thread imports torch, it is there without its parts
    return hasattr(cuda, "is_initialized") and cuda.is_initialized()


def ask_for_this_process(gpu: Gpu) -> Callable[[], ProcessMemory | None]:
    """Return a function that asks the driver what this process holds of `gpu` now.

    It answers None before torch has a CUDA context, without which the process is in no list, and where the driver is
    silent. vLLM counts where it runs in this process, as it does under Unsloth and in TRL's colocate mode. The calls
    have not run on a card yet.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(gpu.index)
    except pynvml.NVMLError:
        return lambda: None

    def ask() -> ProcessMemory | None:
        if not _has_cuda_context():
            return None
        try:
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            memory: Any = pynvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError:
            return None
        listed = {process.pid: process.usedGpuMemory for process in running}
        return process_memory(listed, os.getpid(), gpu.free_gib + gpu.withheld_gib, gib(memory.free))

    return ask
