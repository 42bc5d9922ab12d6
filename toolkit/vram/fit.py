"""How a planned run fits its card: whether the card holds the process, and vLLM's KV cache one sequence."""

from __future__ import annotations

from typing import Literal

from toolkit.vram.plan import Plan

Fit = Literal["fits", "tight", "no cache", "too large"]
"""From the best to the worst."""


def fit_of(plan: Plan) -> Fit:
    """Judge a plan that was made for a card.

    - fits: even the upper end of the interval is within the card's usable memory.
    - tight: the peak is, the upper end is not.
    - no cache: the peak is, but vLLM's KV cache cannot hold one sequence of max_model_len tokens: vLLM does not start,
      or Unsloth allows shorter ones only.
    - too large: the peak is above the card, or vLLM's share above what is free when it starts.

    Raises:
        ValueError: a plan without a card.
    """
    if plan.card is None:
        raise ValueError("a plan without a card fits none")
    if not plan.fits:
        return "too large"
    if plan.engine is not None and plan.engine.longest < plan.request.max_model_len:
        return "no cache"
    return "tight" if plan.interval_gib[1] > plan.card.usable_gib else "fits"


def can_run(plan: Plan) -> bool:
    """Whether it is `fits` or `tight`."""
    return fit_of(plan) in ("fits", "tight")


def surely_fits(plan: Plan) -> bool:
    """Whether it is `fits`: the upper end of the interval is within the card, too."""
    return fit_of(plan) == "fits"
