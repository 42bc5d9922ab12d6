"""A run's memory: planned before it starts, measured when it ends, and explained where it was not enough."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.backends.base import Backend, has_vllm_inside
from toolkit.compat import tested_sets
from toolkit.compat.versions import GPU_LINE
from toolkit.errors import ModelError, SettingsError, ToolkitError, first_line
from toolkit.machine import processes
from toolkit.machine.devices import Gpu, PeakWatch, ProcessMemory, find_gpus
from toolkit.machine.peaks import torch_peaks_gib
from toolkit.runs import Run, metrics
from toolkit.runs.names import SETTINGS
from toolkit.settings.resolved import Resolved
from toolkit.units import format_gib, format_seconds, plural
from toolkit.vram.formula.timing import estimate
from toolkit.vram.plan import Plan
from toolkit.vram.run_plan import RunPlan, plan_run
from toolkit.vram.views import run_report


class OutOfMemory(ToolkitError, MemoryError):
    """The card has no more memory. The run folder is kept."""


def plan(resolved: Resolved[Any], backend: Backend, gpu: Gpu) -> tuple[RunPlan | None, list[str]]:
    """The plan of a run on this card, and what to say of it; None, with a note, where it cannot be planned."""
    settings = resolved.settings
    try:
        found = plan_run(
            settings,
            gpu,
            framework="unsloth" if backend.name == "unsloth" else "trl",
            has_vllm=has_vllm_inside(backend, settings.model),
            share_is_given=_share_is_given(resolved),
            weights=backend.weights_of(settings.model),
        )
    except (ModelError, SettingsError) as error:
        return None, [f"memory is not planned: {error}"]
    lines = run_report.before(found) + _speed(found.plan, resolved, gpu)
    if processes.world_size() > 1:
        lines.append(f"that is one card of {processes.world_size()}, with one process on each")
    return found, lines


def _speed(planned: Plan, resolved: Resolved[Any], gpu: Gpu) -> list[str]:
    """What a step and the run take by the plan; and what would be faster, where nobody chose otherwise."""
    settings, n_steps = resolved.settings, resolved.settings.optim.max_steps
    now = _times(planned, n_steps)
    if now is None:
        return []
    lines = [f"by the plan {now}, with every completion at its full length"]
    on_purpose = settings.model.use_vllm is not None or processes.world_size() > 1
    machine = tested_sets.load().for_machine(platform.system(), gpu.compute_capability)
    if planned.request.generation == "vllm" or on_purpose or machine.without_vllm:
        return lines
    faster = plan_run(settings, gpu, framework="unsloth", has_vllm=True, share_is_given=_share_is_given(resolved))
    return [*lines, f"faster, with Unsloth and vLLM: {_times(faster.plan, n_steps)}: {GPU_LINE}"]


def _times(planned: Plan, n_steps: int) -> str | None:
    """`a step takes 39s (21s to 1m 10s), 250 steps 2h 42m`; None for a card whose rates are not known."""
    timing = estimate(planned.request, planned.shape, planned.card, planned.engine)
    if timing is None:
        return None
    low, step, high = (format_seconds(s) for s in (timing.step_s.low, timing.step_s.mid, timing.step_s.high))
    run = f"{plural(n_steps, 'step')} {format_seconds(n_steps * timing.step_s.mid)}"
    return f"a step takes {step} ({low} to {high}), {run}"


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


def out_of_memory(
    error: BaseException, phase: str, planned: RunPlan | None, gpu: Gpu | None, resolved: Resolved[Any]
) -> OutOfMemory:
    """Say where the memory ran out, what was planned, what is free now, and the nearest settings that need less."""
    found = f"out of GPU memory while {phase} ({first_line(_first_cause(error))})"
    if gpu is not None:
        now = next((card for card in find_gpus()[0] if card.uuid == gpu.uuid), gpu)
        found += f"; {format_gib(now.free_gib)} of {format_gib(now.total_gib)} are free on {gpu.name}"
    if planned is None:
        return OutOfMemory(found, "a smaller model, batch or length", "see: toolkit plan")
    peak = planned.plan.peak_phase
    found += f"; planned were {format_gib(peak.total_gib)}, in {peak.name}"
    leaner = planned.leaner_flags(resolved.settings.model, share_is_given=_share_is_given(resolved))
    return OutOfMemory(found, " ".join(leaner or ["a smaller model or a larger card"]), "the run folder is kept")


def _share_is_given(resolved: Resolved[Any]) -> bool:
    """Whether vLLM's share of the card is a person's; a run that continues keeps the share that it began with."""
    return "gpu_memory_utilization" in resolved.given or resolved.settings.record.resume is not None


def _first_cause(error: BaseException) -> BaseException:
    """What was raised first: the engine's or the driver's own words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
