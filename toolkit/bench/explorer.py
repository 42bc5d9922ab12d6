"""What the planner says of every usual run, computed beforehand so that a page can be asked without Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from toolkit.bench.planning import CHECKPOINTING, GENERATIONS, QWEN3, QWEN25
from toolkit.bench.predict import planner_of
from toolkit.bench.store import Record
from toolkit.errors import ModelError, SettingsError
from toolkit.models import embedded
from toolkit.units import format_count, gib
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.constants import constants_for
from toolkit.vram.formula.timing import estimate
from toolkit.vram.plan import Parts, Plan, fit_of, make_plan
from toolkit.vram.request import Request
from toolkit.vram.search.growth import with_num_generations
from toolkit.vram.shapes import Shape
from toolkit.vram.views.fits import MARKS, MEANINGS
from toolkit.vram.views.table import COMMON_CARDS, LENGTHS

MODELS = (*QWEN25, *QWEN3)
PROMPTS = (512, 2048)
"""Tokens of the longest prompt: a word problem, and one with documents or code."""
AXES: dict[str, Sequence[Any]] = {
    "max_prompt_length": PROMPTS,
    "max_completion_length": LENGTHS,
    "num_generations": GENERATIONS,
    "gradient_checkpointing": CHECKPOINTING,
    "standby": (True, False),
}
PARTS: dict[str, tuple[str, ...]] = {
    "weights": ("weights",),
    "adapter, gradients, optimizer": ("lora", "gradients", "optimizer"),
    "activations and logits": ("activations", "logits"),
    "KV cache of vLLM": ("kv_cache",),
    "rest of vLLM": ("engine", "cuda_graphs"),
    "context and allocator": ("context", "slack"),
}
"""The parts of a peak as the page names them -> those of the plan."""
FIGURES = (
    "peak_gib",
    "low_gib",
    "high_gib",
    "step_s",
    "rollout_tokens_per_s",
    "longest",
    "missing_gib",
    "fit",
    "phase",
)
PHASES = ("load", "rollout", "update")


def choices(
    records: Sequence[Record], gpus: Sequence[str] = (), models: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """The cards and models to plan: what was asked for, else the usual ones with those of a sweep.

    Raises:
        SettingsError: an unknown card.
        ModelError: an unknown model.
    """
    swept_cards = [plan["card"] for record in records if (plan := record.get("predicted"))]
    swept_models = [str(record["point"]["model"]) for record in records if "model" in record["point"]]
    cards = [find_card(name).name for name in gpus] or [*COMMON_CARDS, *filter(_is_card, swept_cards)]
    names = list(models) or [*MODELS, *filter(_is_model, swept_models)]
    for name in models:
        find(name)
    return list(dict.fromkeys(cards)), list(dict.fromkeys(names))


def _is_card(name: str) -> bool:
    """A record may name a card of a later release, or one that is a number of GiB."""
    try:
        find_card(name)
    except SettingsError:
        return False
    return True


def _is_model(name: str) -> bool:
    """A model that ran there may be a folder that is not here; nobody asks for which card the embedded one is."""
    if name == embedded.NAME:
        return False
    try:
        find(name)
    except ModelError:
        return False
    return True


def grid(cards: Sequence[str] = COMMON_CARDS, models: Sequence[str] = MODELS) -> dict[str, Any]:
    """Every run on every card, as the page's script reads it.

    `axes` has the names of the settings with their values, `gpu` and `model` first, and `plans` a list for every
    combination, the last axis changing fastest: `figures`, then GiB by `parts`; null where the lengths are above the
    model's positions. Memory is in GiB, `longest` the longest sequence in tokens that vLLM's cache holds. `batches` has
    per_device_train_batch_size by num_generations.

    Raises:
        SettingsError: an unknown card.
        ModelError: an unknown model.
    """
    known_cards, shapes = [find_card(name) for name in cards], {name: find(name) for name in models}
    axes = {"gpu": [card.name for card in known_cards], "model": list(shapes), **AXES}
    plans = [
        _figures(plan) if plan else None
        for card, (name, shape) in product(known_cards, shapes.items())
        for plan in _plans(card, name, shape)
    ]
    return {
        "planner": planner_of(),
        "axes": axes,
        "batches": {n: with_num_generations(Request(), n).per_device_train_batch_size for n in GENERATIONS},
        "usable_gib": {card.name: card.usable_gib for card in known_cards},
        "parameters": {name: format_count(shape.parameters()) for name, shape in shapes.items()},
        "figures": FIGURES,
        "parts": list(PARTS),
        "fits": [{"name": name, "mark": MARKS[name], "meaning": MEANINGS[name]} for name in MEANINGS],
        "phases": PHASES,
        "plans": plans,
    }


def _plans(card: Card, model: str, shape: Shape) -> Iterator[Plan | None]:
    """A plan for each combination of `AXES`, without what runs on this machine taught about the card."""
    constants = constants_for(card)
    for values in product(*AXES.values()):
        settings = dict(zip(AXES, values, strict=True))
        asked = with_num_generations(Request(model=model, gpu=card.name), settings.pop("num_generations"))
        request = replace(asked, **settings)
        has_room = request.max_model_len <= shape.max_position_embeddings
        yield make_plan(request, shape, card, constants) if has_room else None


def _figures(plan: Plan) -> list[float | None]:
    low, high = plan.interval_gib
    timing, engine = estimate(plan.request, plan.shape, plan.card, plan.engine), plan.engine
    rollout = timing.rollout_tokens_per_s if timing else None
    return [
        *(_short(value) for value in (plan.peak_process_gib, low, high)),
        _short(timing.step_s.mid) if timing else None,
        round(rollout.mid) if rollout else None,
        engine.longest if engine else None,
        _short(gib(engine.setup.missing)) if engine else None,
        list(MEANINGS).index(fit_of(plan)),
        PHASES.index(plan.peak_phase.name),
        *(_short(_sum(plan.peak_phase.parts_gib, names)) for names in PARTS.values()),
    ]


def _sum(parts: Parts, names: Sequence[str]) -> float:
    return sum(parts.get(name, 0.0) for name in names)


def _short(value: float) -> float:
    """Two decimals, and no `.0`: there are ten thousands of them."""
    short = round(value, 2)
    return int(short) if short == int(short) else short
