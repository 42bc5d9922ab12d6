"""A recipe as a module: its settings and rewards, without running it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from toolkit.errors import SettingsError
from toolkit.launch.presets import choose_presets, presets_of
from toolkit.machine.devices import find_gpus
from toolkit.settings import GrpoSettings
from toolkit.settings.parse import given_names, parse


def load(path: Path) -> ModuleType:
    """Import a recipe's file; its code runs.

    Raises:
        SettingsError: no such file, or none with the `Settings` of a GRPO recipe.
    """
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise SettingsError(f"the recipe {path} does not exist", "a path from the folder of the spec")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and help texts look for their source
    spec.loader.exec_module(module)
    settings = getattr(module, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, GrpoSettings)):
        raise SettingsError(f"{path} has no Settings", "a recipe, such as recipes/gsm8k_r1.py")
    return module


def settings_here(path: Path, argv: Sequence[str]) -> GrpoSettings:
    """What the recipe runs with on this machine under these flags: over the preset of its card, or the one named."""
    cls, (gpus, why_no_gpu) = load(path).Settings, find_gpus()
    first = parse(cls, argv)
    presets, _ = choose_presets(first, given_names(argv), gpus, why_no_gpu, presets_of(path))
    return parse(cls, argv, presets)
