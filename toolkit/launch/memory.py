"""A run's memory: planned before it starts, measured when it ends, and explained where it was not enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends.base import Backend, has_vllm_inside
from toolkit.errors import ModelError, SettingsError, ToolkitError, first_line
from toolkit.machine import processes
from toolkit.machine.devices import Gpu, PeakWatch, ProcessMemory, find_gpus, torch_peaks_gib
from toolkit.runs import Run, metrics
from toolkit.runs.names import SETTINGS
from toolkit.settings.resolved import Resolved
from toolkit.units import format_gib
from toolkit.vram.views import run_report

if TYPE_CHECKING:
    from toolkit.vram.run_plan import RunPlan


LEANER = 0.9
"""What the suggested settings may take by the plan, as a share of what the failed ones were planned to."""


class OutOfMemory(ToolkitError, MemoryError):
    """The card has no more memory. The run folder is kept."""


def plan(resolved: Resolved[Any], backend: Backend, gpu: Gpu) -> tuple[RunPlan | None, list[str]]:
    """The plan of a run on this card, and what to say of it; None, with a note, where it cannot be planned."""
    from toolkit.vram.run_plan import plan_run

    settings = resolved.settings
    # A run that continues keeps the share that it began with
    share_is_given = "gpu_memory_utilization" in resolved.given or settings.record.resume is not None
    try:
        found = plan_run(
            settings,
            gpu,
            framework="unsloth" if backend.name == "unsloth" else "trl",
            has_vllm=has_vllm_inside(backend, settings.model),
            share_is_given=share_is_given,
        )
    except (ModelError, SettingsError) as error:
        return None, [f"memory is not planned: {error}"]
    lines = run_report.before(found)
    if processes.world_size() > 1:
        lines.append(f"that is one card of {processes.world_size()}, with one process on each")
    return found, lines


@dataclass(frozen=True)
class Measured:
    """Peaks of one run in GiB; None is not known."""

    peak_allocated_gib: float | None = None
    """Tensors of the training process: torch.cuda.max_memory_allocated."""
    peak_reserved_gib: float | None = None
    """With the allocator's free blocks: torch.cuda.max_memory_reserved."""
    peak_process_gib: float | None = None
    """With context and vLLM: what the driver counts."""
    process_from: str | None = None
    counts_vllm: bool = False
    """vLLM worked in the process. torch then counts vLLM's tensors among its own, and goes on counting those that
    standby has freed (vllm-project/vllm#17117, #33625), so nothing is said of what it allocated and reserved."""


def measured(run: Run, watch: PeakWatch | None) -> Measured:
    """What this process's part of a run has taken; nothing is known without a card, or where nothing was trained."""
    if watch is None:
        return Measured()
    vllm = run.document(SETTINGS)["effective"]["use_vllm"]
    return measure(run.rows, torch_peaks_gib(), watch.peak if run.n_appended else None, vllm=vllm)


def measure(
    rows: Sequence[Mapping[str, Any]], now: tuple[float, float] | None, process: ProcessMemory | None, *, vllm: bool
) -> Measured:
    """Join the steps' peaks with what came after the last step.

    `rows` is metrics.jsonl; a row without a figure makes the run's unknown. `now` is what `torch_peaks_gib`
    says after the run. `vllm`: it worked in this process.
    """
    allocated, reserved = None, None
    if now is not None and not vllm:
        allocated, reserved = (
            _largest([*(row.get(key) for row in rows), last])
            for key, last in zip((metrics.ALLOCATED_GIB, metrics.RESERVED_GIB), now, strict=True)
        )
    held = process.gib if process else None
    return Measured(allocated, reserved, held, process.source if process else None, counts_vllm=vllm)


def _largest(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None


def compared(summary: Mapping[str, Any], folder: Path) -> list[str]:
    """Planned beside measured peaks, from summary.json, and how to plan by this run."""
    lines = run_report.after(summary["plan"], summary["memory"])
    if summary["memory"]["peak_process_gib"] is not None:
        lines.append(f"to plan by this run from now on: toolkit plan --calibrate {folder}")
    return lines


def out_of_memory(error: BaseException, phase: str, planned: RunPlan | None, gpu: Gpu | None) -> OutOfMemory:
    """Say where the memory ran out, what was planned, what is free now, and the nearest settings that need less."""
    found = f"out of GPU memory while {phase} ({first_line(_first_cause(error))})"
    if gpu is not None:
        now = next((card for card in find_gpus()[0] if card.uuid == gpu.uuid), gpu)
        found += f"; {format_gib(now.free_gib)} of {format_gib(now.total_gib)} are free on {gpu.name}"
    if planned is None:
        return OutOfMemory(found, "a smaller model, batch or length", "see: toolkit plan")
    peak = planned.plan.peak_phase
    found += f"; planned were {format_gib(peak.total_gib)}, in {peak.name}"
    return OutOfMemory(found, _leaner(planned) or "a smaller model or a larger card", "the run folder is kept")


def _leaner(planned: RunPlan) -> str:
    """The nearest settings whose plan takes a tenth less of the card; empty where nothing is enough."""
    from toolkit.vram.search.suggest import nearest_that_fits

    plan = planned.plan
    if plan.card is None:
        return ""
    smaller = replace(plan.card, usable_gib=LEANER * plan.peak_process_gib)
    nearest = nearest_that_fits(plan.request, plan.shape, smaller)
    return " ".join(map(str, nearest[1])) if nearest else ""


def _first_cause(error: BaseException) -> BaseException:
    """What was raised first: the engine's or the driver's own words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
