"""What share of a card's published rates a cell reached: arithmetic in the update, bandwidth in rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.errors import ModelError
from toolkit.settings import GrpoSettings
from toolkit.vram.cards import Card
from toolkit.vram.catalog import find
from toolkit.vram.formula.needed import decoding_bytes, update_flops


def utilisation(settings: GrpoSettings, card: Card | None, found: Mapping[str, Any]) -> dict[str, Any]:
    """`mfu` of the update and `mbu` of the rollouts, 0 to 1, from what `measured` says; None with `why`.

    The rates are those that the planner has of the card. It has none of a CPU, whose bandwidth and clock depend on
    the machine around it.
    """
    nothing: dict[str, Any] = {"mfu": None, "mbu": None, "card": card.name if card else None}
    if card is None:
        return nothing | {"why": "no published rates of a CPU"}
    if card.bandwidth_gbs is None:
        return nothing | {"why": f"no published rates of {card.name}"}
    try:
        shape = find(settings.model.model)
    except ModelError as error:
        return nothing | {"why": str(error)}
    rates, n_steps = found["rates"], found["n_steps"]
    if not {"rollout", "update"} <= rates.keys() or not found["decoded_steps"]:
        return nothing | {"why": "the run timed no phases"}
    sampled, trained = rates["rollout"]["tokens"], rates["update"]["tokens"]
    n_samples = rates["update"]["samples_per_s"] * trained / rates["update"]["tokens_per_s"]
    flops = update_flops(shape, trained, sampled, trained / n_samples)
    peak_flops = 1e12 * (card.bf16_tflops or card.fp16_tflops or 0.0)
    context = (trained - sampled / 2) / n_samples  # halfway through the completions
    in_4bit = settings.model.load_in_4bit
    read = decoding_bytes(shape, found["decoded_steps"], n_samples / n_steps, context, in_4bit=in_4bit)
    update_s, rollout_s = (rates[name]["tokens"] / rates[name]["tokens_per_s"] for name in ("update", "rollout"))
    return {
        "mfu": round(flops / update_s / peak_flops, 4),
        "mbu": round(read / rollout_s / (1e9 * card.bandwidth_gbs), 4),
        "card": card.name,
        "why": "",
    }
