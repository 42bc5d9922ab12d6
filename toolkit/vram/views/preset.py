"""A plan as a YAML preset for the recipes, and what of a plan they cannot be told."""

from __future__ import annotations

import os
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from toolkit.errors import SettingsError
from toolkit.settings import ALL_LINEAR, GrpoSettings, RecordSettings
from toolkit.settings.batch import check_save_steps, solve
from toolkit.settings.parse import parse
from toolkit.vram.cards import Card
from toolkit.vram.plan import Plan
from toolkit.vram.request import Request
from toolkit.vram.run_plan import request_of
from toolkit.vram.shapes import Shape, parse_targets
from toolkit.vram.verdict import verdict_of
from toolkit.vram.views.sheet import MEANINGS
from toolkit.vram.views.table_files import save

SUFFIXES = (".yaml", ".yml")


def settings_of(request: Request, shape: Shape) -> dict[str, Any]:
    """The recipes' settings that a request decides, under their names; the rest keeps the recipe's defaults.

    lora_alpha is twice the rank, as in recipes/configs.
    """
    targets = parse_targets(request.lora_targets, shape)
    settings = {
        "model": _model_of(request, shape),
        "backend": "unsloth" if request.framework == "unsloth" else "transformers",
        "load_in_4bit": request.method == "qlora",
        "lora_rank": request.lora_rank,
        "lora_alpha": 2 * request.lora_rank,
        "target_modules": None if set(targets) == set(ALL_LINEAR) else list(targets),
        "gradient_checkpointing": request.gradient_checkpointing or request.checkpointing,
        "use_vllm": None if request.generation == "vllm" else False,
        "gpu_memory_utilization": request.gpu_memory_utilization,
        "standby": request.standby,
        "max_prompt_length": request.max_prompt_length,
        "num_generations": request.num_generations,
        "max_completion_length": request.max_completion_length,
        "per_device_train_batch_size": request.per_device_train_batch_size,
        "gradient_accumulation_steps": request.gradient_accumulation_steps,
        "steps_per_generation": request.steps_per_generation,
        "save_steps": _save_steps(request),
        "optim": request.optim,
        "beta": request.beta,
    }
    return {name: value for name, value in settings.items() if value is not None}


def check_preset(path: Path, request: Request, shape: Shape, card: Card) -> None:
    """Refuse a preset before anything is searched: of another kind of file, or of what the recipes cannot do.

    The settings are read as a recipe reads them and planned again: what comes back changed cannot be said in them.

    Raises:
        SettingsError: names the flag.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--output {path} is no preset", f"a name that ends in {' or '.join(SUFFIXES)}")
    settings = parse(GrpoSettings, [], [(str(path), settings_of(request, shape))])
    back = request_of(
        settings, has_bf16=card.is_ampere, framework=request.framework, has_vllm=request.generation == "vllm"
    )
    planned, meant = _comparable(request, shape), _comparable(back, shape)
    lost = next((name for name, value in planned.items() if value != meant[name]), None)
    if lost:
        found = f"the recipes' settings cannot say --{lost} {getattr(request, lost)}"
        raise SettingsError(found, "a preset of what they can", f"leave out --{lost}, or --output")
    check_save_steps(solve(settings.rollout), settings.record.save_steps)


def write_preset(path: Path, plan: Plan) -> None:
    """Write the settings of a plan with a heading that says what was planned, and how.

    Raises:
        SettingsError: the file cannot be written.
    """
    import yaml

    settings = yaml.safe_dump(settings_of(plan.request, plan.shape), sort_keys=False)
    save(path, (_heading(path, plan) + settings).encode())


def _heading(path: Path, plan: Plan) -> str:
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
        f"peaks at {plan.peak_process_gib:.2f} GiB ({low:.2f} to {high:.2f}), {MEANINGS[verdict_of(plan)]}.",
        f"The longest completions for: {' '.join([command, *flags])}",
        "What is not named here is the recipe's default.",
    )
    return "".join(f"# {line}\n" for line in lines)


def _model_of(request: Request, shape: Shape) -> str:
    """What the recipes load it by: a folder's path, or the Hub id as far as it was given with its owner."""
    path = os.path.expanduser(request.model)
    if os.path.isfile(path):
        return os.path.dirname(os.path.abspath(path))
    return request.model if os.path.isdir(path) or "/" in request.model else shape.name


def _save_steps(request: Request) -> int | None:
    """The first multiple of a round of rollouts from the recipes' own value on; None where that is one."""
    usual, steps = RecordSettings().save_steps, request.batch.steps_per_round()
    fitting = -(-usual // steps) * steps
    return None if fitting == usual else fitting


def _comparable(request: Request, shape: Shape) -> dict[str, Any]:
    """The request's fields with defaults filled in, without those that a preset need not say.

    Of the two 16-bit types the recipes take the one that the card has; they are equally large.
    """
    filled = replace(
        request,
        lora_targets=" ".join(parse_targets(request.lora_targets, shape)),
        gradient_checkpointing=request.checkpointing,
        loss_head=request.head,
        dtype="fp32" if request.dtype == "fp32" else "bf16",
    )
    unsaid = ("model", "gpu", "max_seq_length")
    return {f.name: getattr(filled, f.name) for f in fields(Request) if f.name not in unsaid}
