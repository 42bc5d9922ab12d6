"""Which card is there, asked from the driver without loading torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace


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

    @property
    def has_bf16(self) -> bool:
        """Tensor cores that take bfloat16 exist from compute capability 8.0 (Ampere) on."""
        return self.compute_capability >= (8, 0)


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
    chosen = [replace(gpu, visible_as=name) for name in wanted for gpu in gpus if _is_named(gpu, name)]
    return chosen, "" if chosen else "the driver reports no CUDA device that CUDA_VISIBLE_DEVICES names"


def _is_named(gpu: Gpu, name: str) -> bool:
    return name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name)) or name.startswith("MIG-")


def _describe(pynvml, index: int) -> Gpu:
    from toolkit.units import gib

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    name, driver = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion()
    uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    total, free = gib(memory.total), gib(memory.free)
    return Gpu(index, str(name), total, free, (major, minor), str(driver), uuid, str(index))
