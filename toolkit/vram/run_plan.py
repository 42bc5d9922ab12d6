"""The plan of a recipe's run, from its settings and the card that the driver reports.

It asks, loads and prints nothing, so that a test can hand in any card.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from toolkit.errors import SettingsError
from toolkit.settings import GrpoSettings, ModelSettings
from toolkit.units import format_gib
from toolkit.vram.cards import DRIVER_KEEPS_GIB, Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.formula.sharing import standby_share
from toolkit.vram.mapping import flags_between, request_of
from toolkit.vram.plan import Plan, as_json, can_run, make_plan, surely_fits
from toolkit.vram.request import Request
from toolkit.vram.search.suggest import nearest_that_fits
from toolkit.vram.shapes import Shape

if TYPE_CHECKING:
    from toolkit.machine.devices import Gpu

LEANER = 0.9  # of a plan that was not enough: what the next one may take
OTHERS_HOLD_GIB = 0.25  # below it the difference is the uncertainty of the table, not another process
SHARES = tuple(percent / 100 for percent in range(5, 96))  # of the card for vLLM; the rest is never all free
OF_LABEL = (0.9, 1.02)  # the driver's total over the size on the box: 0.937 (L4, with ECC) to 1.0 were seen


@dataclass(frozen=True)
class RunPlan:
    """A run's plan on this machine's card, and what follows from it."""

    plan: Plan
    share: float | None
    """gpu_memory_utilization chosen for the run; None: given, or nothing to choose."""
    notes: tuple[str, ...]
    """What a user should know beyond the figures, a line each."""
    flags: tuple[str, ...] | None = ()
    """What to add to the command so that it runs; empty when it runs as it is, None when nothing is enough."""

    def misfit(self, *, resumed: bool) -> SettingsError:
        """The error for a run that would not fit, with what to do about it."""
        plan, card = self.plan, self.plan.card
        where = f"{card.name} has {format_gib(card.usable_gib)}" if card else ""
        found = f"the plan's peak is {format_gib(plan.peak_process_gib)}, in {plan.peak_phase.name}, and {where}"
        if plan.fits and plan.engine:
            length = plan.request.max_model_len
            found = (
                f"by the plan vLLM's KV cache holds {plan.engine.kv_tokens:,} tokens, not one sequence of {length:,}"
            )
        if resumed:
            return SettingsError(found, "the memory that the run began with", "free the card, or --force")
        wanted = "a smaller model or a larger card" if self.flags is None else " ".join(self.flags)
        return SettingsError(found, wanted, "or --force to start as it is")

    def leaner_flags(self, model: ModelSettings, *, share_is_given: bool) -> tuple[str, ...] | None:
        """What to add to the command so that the plan takes a tenth less than this one; None when nothing is enough."""
        if self.plan.card is None:
            return None
        smaller = replace(self.plan.card, usable_gib=LEANER * self.plan.peak_process_gib)
        return _flags_that_run(self.plan.request, self.plan.shape, smaller, model, share_is_given)

    def record(self) -> dict[str, Any]:
        """What summary.json keeps: the plan's JSON, its request and its card."""
        card = asdict(self.plan.card) if self.plan.card else None
        return as_json(self.plan) | {"request": asdict(self.plan.request), "card": card}


def plan_run(
    settings: GrpoSettings,
    gpu: Gpu,
    *,
    framework: Literal["unsloth", "trl"],
    has_vllm: bool,
    share_is_given: bool,
    weights: str | None = None,
) -> RunPlan:
    """Plan a run on one card.

    `has_vllm`: vLLM can roll out in this process. `share_is_given`: a person set gpu_memory_utilization, which stands.
    `weights`: the copy that the engine loads for `--model`, where it has one.

    Raises:
        ModelError: a model that cannot be planned.
        SettingsError: settings that cannot, or a MIG slice.
    """
    if gpu.is_slice:
        raise SettingsError(f"{gpu.name} is used as the MIG slice {gpu.visible_as}", "a whole card, to know its memory")
    card, held_gib = card_of(gpu)
    shape = find(weights or settings.model.model)
    asked = request_of(settings, has_bf16=gpu.has_bf16, framework=framework, has_vllm=has_vllm)
    request, notes = (asked, []) if share_is_given else with_share(asked, shape, card)
    plan = make_plan(request, shape, card)
    if held_gib > OTHERS_HOLD_GIB:
        notes.append(f"other processes hold {format_gib(held_gib)} of {card.name}, which the plan leaves them")
    chosen = request.generation == "vllm" and not share_is_given and not request.engine_sets_its_share
    share = request.gpu_memory_utilization if chosen else None
    flags = () if can_run(plan) else _flags_that_run(request, shape, card, settings.model, share_is_given)
    return RunPlan(plan, share, (*notes, *plan.warnings), flags)


def with_share(request: Request, shape: Shape, card: Card) -> tuple[Request, list[str]]:
    """The request with the share of the card that vLLM will have, and the reason where it is chosen here.

    That is the largest which keeps the upper end of the plan's interval on the card. Where none does, it is the
    smallest with which the KV cache has room for one sequence of `max_model_len`, be it on the card or not.
    """
    if request.generation == "hf":
        return request, []
    if request.engine_sets_its_share:
        return replace(request, gpu_memory_utilization=standby_share(card.usable_gib)), []
    plans = [make_plan(replace(request, gpu_memory_utilization=share), shape, card) for share in SHARES]
    safe = [plan for plan in plans if surely_fits(plan)]
    roomy = [plan for plan in plans if plan.engine and plan.engine.longest >= request.max_model_len]
    if safe:
        chosen = safe[-1]
        why = f"the largest with which even the upper end, {format_gib(chosen.interval_gib[1])}, fits"
    elif roomy:
        chosen = roomy[0]
        why = f"the smallest with room for one sequence of {request.max_model_len:,} tokens"
    else:
        return request, []
    share = chosen.request.gpu_memory_utilization
    return chosen.request, [f"gpu_memory_utilization {share:.2f} by the plan: {why}"]


def card_of(gpu: Gpu) -> tuple[Card, float]:
    """The card, usable as far as it is free now, and the GiB that other processes hold.

    A card of the table keeps the table's name and rates. One that is not in it, or has another size, is planned by the
    driver's figures. The driver counts what it keeps for itself as used: so `free_gib` is what a process can get of an
    idle card, and what the others have left of a busy one.
    """
    known = _find(gpu.name) or _find(f"{gpu.name} {round(gpu.total_gib)}GB")
    if known is None or not OF_LABEL[0] < gpu.total_gib / known.label_gib < OF_LABEL[1]:
        capability = ".".join(map(str, gpu.compute_capability))
        usable_gib = gpu.total_gib - DRIVER_KEEPS_GIB
        known = Card(gpu.name, gpu.total_gib, usable_gib, None, None, None, capability, "the driver")
    held_gib = max(0.0, known.usable_gib - gpu.free_gib)
    return replace(known, usable_gib=round(known.usable_gib - held_gib, 2)), held_gib


def _flags_that_run(
    request: Request, shape: Shape, card: Card, model: ModelSettings, share_is_given: bool
) -> tuple[str, ...] | None:
    """The nearest settings that run here, as flags of the recipe; None when nothing is enough."""
    nearest = nearest_that_fits(request, shape, card)
    if nearest is None:
        return None
    after = nearest[0].request
    unsaid = {"standby"} if after.generation == "hf" else set()
    if not share_is_given or after.engine_sets_its_share or after.generation == "hf":
        unsaid.add("gpu_memory_utilization")  # chosen again by the next run, or without effect
    return tuple(flags_between(request, after, model, unsaid))


def _find(name: str) -> Card | None:
    try:
        return find_card(name)
    except SettingsError:  # not in the table, or there in several sizes
        return None
