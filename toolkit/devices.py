"""Which card is there, asked from the driver without loading torch."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One CUDA device as the driver reports it. Memory is what the driver counts, not the label on the box."""

    index: int
    name: str
    total_gib: float
    free_gib: float
    compute_capability: tuple[int, int]
    driver_version: str

    @property
    def has_bf16(self) -> bool:
        """Tensor cores that take bfloat16 exist from compute capability 8.0 (Ampere) on."""
        return self.compute_capability >= (8, 0)


def find_gpus() -> tuple[list[Gpu], str]:
    """Return the visible CUDA devices and, when there are none, the reason.

    Honours `CUDA_VISIBLE_DEVICES` where it is a list of indices or empty; UUIDs are left to CUDA itself.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return [], "CUDA_VISIBLE_DEVICES hides every device"
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"no CUDA device ({str(error).lower()})"
    try:
        gpus = [_describe(pynvml, i) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()
    if visible and all(part.strip().isdigit() for part in visible.split(",")):
        wanted = [int(part) for part in visible.split(",")]
        gpus = [gpu for gpu in gpus if gpu.index in wanted]
    return gpus, "" if gpus else "the driver reports no CUDA device"


def _describe(pynvml, index: int) -> Gpu:
    from toolkit.units import gib

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    name, driver = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion()
    return Gpu(index, str(name), gib(memory.total), gib(memory.free), (major, minor), str(driver))
