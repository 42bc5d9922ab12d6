"""A run's memory in plain lines: the plan before anything loads, and plan and measurement after the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.units import format_gib
from toolkit.vram.plan import KINDS, Phase, Plan, fit_of
from toolkit.vram.run_plan import RunPlan
from toolkit.vram.views.fits import ON_CARD

# Columns of the plan, and the parts of a phase that each adds up
COLUMNS = {
    "weights": ("weights",),
    "adapter": ("lora", "optimizer", "gradients"),
    "pass": ("activations", "logits"),
    "vLLM": ("kv_cache", "engine", "cuda_graphs"),
    "CUDA": ("context", "slack"),
}


def before(run_plan: RunPlan) -> list[str]:
    """The plan in a few lines: phases, peak, and whether it fits, in at most 80 characters; then the notes."""
    plan = run_plan.plan
    lines = ["planned GiB" + "".join(f"{name:>9}" for name in (*COLUMNS, "process"))]
    lines += [f"{name:<11}" + _row(phase) for name, phase in plan.phases.items()]
    return [*lines, *_peak(plan), *run_plan.notes]


def after(plan: Mapping[str, Any], memory: Mapping[str, Any]) -> list[str]:
    """Planned beside measured peaks, from summary.json; `-` where a figure is not known."""
    low, high = plan["interval_process_gib"]
    lines = [f"{'peak GiB':<11}{'planned':>9}{'measured':>10}{'difference':>12}"]
    for name in KINDS:
        planned, measured = plan[f"peak_{name}_gib"], memory.get(f"peak_{name}_gib")
        known = ("-", "-") if measured is None else (f"{measured:.2f}", f"{measured - planned:+.2f}")
        line = f"{name:<11}{planned:>9.2f}{known[0]:>10}{known[1]:>12}"
        lines.append(f"{line}   planned {low:.1f} to {high:.1f}" if name == "process" else line)
    if memory.get("counts_vllm"):
        lines.append("allocated and reserved: torch counts vLLM's tensors among its own, so they are not compared")
    return lines


def _row(phase: Phase) -> str:
    sums = [sum(phase.parts_gib.get(part, 0.0) for part in parts) for parts in COLUMNS.values()]
    return "".join(f"{total:>9.2f}" if total >= 0.005 else f"{'':>9}" for total in (*sums, phase.total_gib))


def _peak(plan: Plan) -> list[str]:
    low, high = plan.interval_gib
    lines = [f"peak {format_gib(plan.peak_process_gib)} ({low:.1f} to {high:.1f}) in {plan.peak_phase.name}"]
    if plan.card is not None:
        lines[0] += f": {ON_CARD[fit_of(plan)]} {plan.card.name} with {format_gib(plan.card.usable_gib)}"
    if plan.engine is not None and plan.engine.kv_tokens:
        length = plan.request.max_model_len
        n = plan.engine.n_concurrent(length)
        lines.append(f"KV cache for {plan.engine.kv_tokens:,} tokens: {n} sequences of {length:,} at once")
    return lines
