"""vLLM's share of the card, gpu_memory_utilization: what the plan chooses where nobody gave one."""

from __future__ import annotations

from dataclasses import replace

from toolkit.units import format_gib
from toolkit.vram.cards import Card
from toolkit.vram.fit import surely_fits
from toolkit.vram.formula.sharing import standby_share
from toolkit.vram.plan import make_plan
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape

SHARES = tuple(percent / 100 for percent in range(5, 96))  # of the card; the rest is never all free


def with_share(request: Request, shape: Shape, card: Card) -> tuple[Request, list[str]]:
    """The request with the share that its run will have, and the reason where it is chosen here."""
    if request.generation == "hf":
        return request, []
    if request.engine_sets_its_share:
        return replace(request, gpu_memory_utilization=standby_share(card.usable_gib)), []
    share = choose_share(request, shape, card)
    if share is None:
        return request, []
    chosen = replace(request, gpu_memory_utilization=share)
    high = make_plan(chosen, shape, card).interval_gib[1]
    if high <= card.usable_gib:
        why = f"the largest with which even the upper end, {format_gib(high)}, fits"
    else:
        why = f"the smallest with room for one sequence of {request.max_model_len:,} tokens"
    return chosen, [f"gpu_memory_utilization {share:.2f} by the plan: {why}"]


def choose_share(request: Request, shape: Shape, card: Card) -> float | None:
    """The largest share that keeps the upper end of the plan's interval on the card.

    Where none does, the smallest with which the KV cache has room for one sequence of `max_model_len`, be it on the
    card or not; None when no share gives that room.
    """
    plans = {share: make_plan(replace(request, gpu_memory_utilization=share), shape, card) for share in SHARES}
    safe = [share for share, plan in plans.items() if surely_fits(plan)]
    roomy = [share for share, plan in plans.items() if plan.engine and plan.engine.longest >= request.max_model_len]
    return max(safe) if safe else min(roomy, default=None)
