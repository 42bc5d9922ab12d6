"""The settings below the flags: the machine's preset, a file that was asked for, or those of a run to resume."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import SettingsError, did_you_mean
from toolkit.machine import processes
from toolkit.machine.devices import Gpu
from toolkit.models import embedded
from toolkit.rewards import spec
from toolkit.runs.names import SETTINGS
from toolkit.runs.reader import requested_settings, world_size
from toolkit.settings import GrpoSettings
from toolkit.settings.parse import read_yaml

MAY_CHANGE_ON_RESUME = {
    "resume",
    "max_steps",
    "save_steps",
    "save",
    "report",
    "push_to_hub",
    "public",
    "force",
    "standby",  # where vLLM's cache is during the update, not what is learnt
    "check_machine",
    "preflight",
    "allow_truncation",
    "report_to",
    "debug",
    "parity",
    "parity_steps",
}
# GiB as the driver counts them, down to the card of each size that has the least: an A10G has 21.99, a T4 14.56
CARD_PRESETS = ((21.9, "24gb"), (14.5, "16gb"), (0.0, "12gb"))

Preset = tuple[str, Mapping[str, Any]]


def presets_of(recipe_file: Path) -> Path:
    """The folder of presets beside a recipe; for a recipe of one's own, the one that this checkout ships."""
    own = recipe_file.parent / "configs"
    return own if own.is_dir() else Path(__file__).parents[2] / "recipes" / "configs"


def choose_presets(
    settings: GrpoSettings, given: set[str], gpus: list[Gpu], why_no_gpu: str, configs: Path
) -> tuple[list[Preset], str]:
    """The settings below the flags, later ones winning, and why: the machine's preset, the file asked for, or both.

    A file that names a model stands alone, since another model's preset would not fit it; one that names none is laid
    over the machine's.
    """
    if settings.record.config is None:
        return _machine_presets(settings, given, gpus, why_no_gpu, configs)
    path = _config_path(settings.record.config, configs)
    asked, why = read_yaml(path), f"config {path.name}: asked for"
    if "model" in asked:
        return [(str(path), asked)], why
    below, why_below = _machine_presets(settings, given, gpus, why_no_gpu, configs)
    return [*below, (str(path), asked)], f"{why_below}; {why}"


def set_in_files(presets: Sequence[Preset], configs: Path) -> set[str]:
    """Names that a person's own files set; what the shipped presets say is our guess."""
    return {name for path, mapping in presets if Path(path).parent != configs for name in mapping}


def _machine_presets(
    settings: GrpoSettings, given: set[str], gpus: list[Gpu], why_no_gpu: str, configs: Path
) -> tuple[list[Preset], str]:
    """What this machine gets: the embedded model, the preset for its card, or none for a model asked for on a CPU."""
    if settings.model.model == embedded.NAME:
        name, why = "embedded", "--model embedded was asked for"
    elif "model" in given and not gpus:
        return [], f"no preset: {settings.model.model} was asked for, and {why_no_gpu}"
    elif not gpus:
        name, why = "embedded", why_no_gpu
    else:
        name = next(preset for floor, preset in CARD_PRESETS if gpus[0].total_gib >= floor)
        why = f"{gpus[0].name} has {gpus[0].total_gib:.1f} GiB"
    path = configs / f"{name}.yaml"
    if not configs.is_dir():  # the package without its checkout
        return [], f"no presets in {configs}"
    return [(str(path), read_yaml(path))], f"config {path.name}: {why}"


def _config_path(config: str, configs: Path) -> Path:
    path = Path(config).expanduser()
    if os.path.exists(path):  # Path.exists raises where a name is too long
        return path
    names = sorted(p.stem for p in configs.glob("*.yaml"))
    named = configs / f"{path.stem}.yaml"
    if os.path.exists(named) and path.name in (named.stem, named.name):
        return named
    hint = did_you_mean(path.stem, names) or f"a YAML file, or one of {', '.join(names)}"
    raise SettingsError(f"--config {config} does not exist", hint)


def settings_to_resume(folder: Path, given: set[str], reward: str | None = None) -> Preset:
    """The settings of a run to go on with, under what is `given` now.

    `reward`: what `--reward` is now. It may be given again as it was, since no run keeps a password in an address.
    """
    saved, n_before, n = requested_settings(folder), world_size(folder), processes.world_size()
    if n_before != n:
        raise SettingsError(
            f"--resume {folder} with {n} process{'es' * (n > 1)}",
            f"{n_before}, as it began: each has a share of the batch and its own random numbers",
            "start it with the same launcher",
        )
    is_same = reward is not None and spec.recorded(reward) == saved.get("reward")
    fixed = sorted(given - MAY_CHANGE_ON_RESUME - ({"reward"} if is_same else set()))
    if fixed:
        raise SettingsError(
            f"--{fixed[0]} beside --resume",
            f"only {', '.join('--' + n for n in sorted(MAY_CHANGE_ON_RESUME - {'resume'}))}",
            "a run that continues keeps its settings; start a new one for others",
        )
    dropped = ("config", "resume", "output_dir")
    return str(folder / SETTINGS), {k: v for k, v in saved.items() if k not in dropped}
