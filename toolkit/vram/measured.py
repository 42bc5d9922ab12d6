"""What a run took of its card, under the plan's names for the same three figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.units import gib

if TYPE_CHECKING:
    from toolkit.machine.devices import ProcessMemory

# A step's peaks in metrics.jsonl: torch's own start anew with each step
ALLOCATED_KEY, RESERVED_KEY = "memory/peak_allocated_gib", "memory/peak_gib"


@dataclass(frozen=True)
class Measured:
    """Peaks of one run in GiB; None where it is not known."""

    peak_allocated_gib: float | None = None
    """Tensors of the training process: torch.cuda.max_memory_allocated."""
    peak_reserved_gib: float | None = None
    """With the allocator's free blocks: torch.cuda.max_memory_reserved."""
    peak_process_gib: float | None = None
    """With context and vLLM: what the driver counts for the process."""
    process_from: str | None = None
    counts_vllm: bool = False
    """vLLM worked in the process. torch then counts vLLM's tensors as its own, and goes on counting those that standby
    has freed (vllm-project/vllm#17117, #33625), so neither allocated nor reserved is known."""


def measure(
    rows: Sequence[Mapping[str, Any]], now: tuple[float, float] | None, process: ProcessMemory | None, *, vllm: bool
) -> Measured:
    """The run's peaks: the largest of its steps' and of what came after the last step.

    `rows` is metrics.jsonl; where one row lacks a figure, the run's is not known. `now` is `torch_peaks_gib` after the
    run. `vllm`: it worked in this process.
    """
    allocated, reserved = None, None
    if now is not None and not vllm:
        allocated, reserved = (
            _max_of_known([*(row.get(key) for row in rows), last])
            for key, last in zip((ALLOCATED_KEY, RESERVED_KEY), now, strict=True)
        )
    held = process.gib if process else None
    return Measured(allocated, reserved, held, process.source if process else None, counts_vllm=vllm)


def torch_peaks_gib() -> tuple[float, float] | None:
    """Peaks of allocated and reserved memory since the last reset; None without torch or a CUDA device."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return gib(torch.cuda.max_memory_allocated()), gib(torch.cuda.max_memory_reserved())


def _max_of_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
