"""A plan as a YAML preset for the recipes, as far as their settings can say it."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from toolkit.errors import SettingsError
from toolkit.settings import GrpoSettings, RecordSettings
from toolkit.settings.batch import check_save_steps, solve
from toolkit.settings.parse import parse
from toolkit.vram.cards import Card
from toolkit.vram.mapping import lost, request_of, settings_of
from toolkit.vram.plan import Plan, fit_of
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape
from toolkit.vram.views.fits import MEANINGS

SUFFIXES = (".yaml", ".yml")


def preset_of(request: Request, shape: Shape) -> dict[str, Any]:
    """The settings of a request; save_steps too, where the recipes' default is no multiple of a round of rollouts."""
    usual, steps = RecordSettings().save_steps, request.batch.steps_per_round()
    settings = settings_of(request, shape)
    return settings if usual % steps == 0 else settings | {"save_steps": usual + steps - usual % steps}


def check_preset(path: Path, request: Request, shape: Shape, card: Card) -> None:
    """Refuse another kind of file, or what the recipes cannot do, before anything is searched.

    The settings are read as a recipe reads them and planned again: what comes back changed cannot be said in them.

    Raises:
        SettingsError: names the flag.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--output {path} is no preset", f"a name that ends in {' or '.join(SUFFIXES)}")
    settings = parse(GrpoSettings, [], [(str(path), preset_of(request, shape))])
    back = request_of(
        settings, has_bf16=card.is_ampere, framework=request.framework, has_vllm=request.generation == "vllm"
    )
    if name := lost(request, back, shape):
        found = f"the recipes' settings cannot say --{name} {getattr(request, name)}"
        raise SettingsError(found, "a preset of what they can", f"leave out --{name}, or --output")
    if request.framework == "unsloth" and request.attention != Request().attention:
        found = f"the recipes cannot say --attention {request.attention} of Unsloth, which takes what it finds"
        raise SettingsError(found, "--framework trl", "or leave out --attention")
    check_save_steps(solve(settings.rollout), settings.record.save_steps)


def as_yaml(plan: Plan) -> str:
    """The settings of a plan under a heading that says what was planned, and how."""
    import yaml

    card, (low, high) = plan.card, plan.interval_gib
    if card is None:
        raise ValueError("a preset needs a card")
    request, usual = plan.request, Request()
    unset = ("model", "gpu", "max_completion_length")
    given = [
        f.name for f in fields(Request) if f.name not in unset and getattr(request, f.name) != getattr(usual, f.name)
    ]
    flags = [f"--{name}={shlex.quote(str(getattr(request, name)))}" for name in given]
    command = f"toolkit plan --fit --model {shlex.quote(request.model)} --gpu {shlex.quote(str(request.gpu))}"
    lines = (
        f"{plan.shape.name} on {card.name} with {card.usable_gib:g} GiB usable. Planned, not measured: the process",
        f"peaks at {plan.peak_process_gib:.2f} GiB ({low:.2f} to {high:.2f}), {MEANINGS[fit_of(plan)]}.",
        f"The longest completions for: {' '.join([command, *flags])}",
        "What is not named here is the recipe's default.",
    )
    heading = "".join(f"# {line}\n" for line in lines)
    return heading + yaml.safe_dump(preset_of(request, plan.shape), sort_keys=False)
