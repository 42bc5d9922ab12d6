"""What the planner says of a cell before it runs."""

from __future__ import annotations

from typing import Any

from toolkit import __version__
from toolkit.bench.spec import Cell, Spec
from toolkit.errors import ModelError, SettingsError
from toolkit.machine.devices import Gpu
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.formula.timing import estimate
from toolkit.vram.mapping import request_of
from toolkit.vram.plan import Plan, fit_of, make_plan
from toolkit.vram.run_plan import card_of, with_share


def predicted(spec: Spec, cell: Cell, gpu: Gpu | None) -> dict[str, Any] | None:
    """Memory in GiB and seconds a step on the card of the spec, else of this machine; None on a CPU, or not planned.

    - `card`, its `usable_gib`; `planner` says which planner it was.
    - `peak_gib` of the process, between `low_gib` and `high_gib`, in `peak_phase`; `fit` (see `Fit`), and `fits`, which
      is that the peak is on the card.
    - `step_s`; None for a card whose rates are not known.

    The engine is Unsloth with vLLM, but for `engine: trl` and where the settings say otherwise.
    """
    card = card_of_sweep(spec, gpu)
    if card is None:
        return None
    settings = spec.resolved(cell)
    framework = "trl" if cell.engine == "trl" or settings.model.backend == "transformers" else "unsloth"
    request = request_of(settings, has_bf16=card.is_ampere, framework=framework, has_vllm=framework == "unsloth")
    try:
        shape = find(settings.model.model)
        if "gpu_memory_utilization" not in cell.settings:
            request, _ = with_share(request, shape, card)
        plan = make_plan(request, shape, card)
    except (ModelError, SettingsError):
        return None
    timing = estimate(plan.request, plan.shape, plan.card, plan.engine)
    return {
        "card": card.name,
        "usable_gib": card.usable_gib,
        "planner": planner_of(plan),
        "fits": plan.fits,
        "fit": fit_of(plan),
        "peak_gib": round(plan.peak_process_gib, 2),
        "low_gib": round(plan.interval_gib[0], 2),
        "high_gib": round(plan.interval_gib[1], 2),
        "peak_phase": plan.peak_phase.name,
        "step_s": round(timing.step_s.mid, 2) if timing else None,
    }


def planner_of(plan: Plan | None = None) -> str:
    """The planner by its release, and whether runs on the card have corrected it."""
    learned = plan.calibration if plan else None
    n_runs = f", corrected by {learned['n_runs']} runs on this card" if learned else ""
    return f"planner {__version__}{n_runs}"


def card_of_sweep(spec: Spec, gpu: Gpu | None) -> Card | None:
    """The card that the spec names, else this machine's; a SettingsError for one that is not known."""
    if spec.card is not None:
        return find_card(spec.card)
    return card_of(gpu)[0] if gpu is not None else None
