"""What a search found, as a YAML preset that the recipes read with --config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from toolkit.bench import recipe
from toolkit.bench.spec import Cell, Spec
from toolkit.bench.trials import Search, ratio
from toolkit.errors import SettingsError
from toolkit.files import as_json
from toolkit.machine.devices import find_gpus
from toolkit.settings import flatten

SUFFIXES = (".yaml", ".yml")
OF_ONE_RUN = ("output_dir", "config", "resume", "push_to_hub", "public", "debug", "force")
"""Settings that are of a run and not of a way to train."""


def check_path(path: Path, results: Path) -> None:
    """Refuse another kind of file, or one that cannot be written, with a SettingsError, before anything runs.

    `results`: the folder that a search makes.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--preset {path} is no preset", f"a name that ends in {' or '.join(SUFFIXES)}")
    if path.parent != results and not os.access(path.parent, os.W_OK):
        raise SettingsError(f"--preset {path} cannot be written", "a file name in a writable folder")


def preset_of(spec: Spec, cell: Cell) -> dict[str, Any]:
    """All settings of a cell on this machine that are not the recipe's defaults, and the model in any case.

    A file that names a model stands alone, so what the machine's own preset says is in it, too.
    """
    usual = flatten(spec.settings_class())
    settings = flatten(recipe.settings_here(spec.recipe_path, spec.command(cell)))
    kept = {name: value for name, value in settings.items() if value != usual[name] and name not in OF_ONE_RUN}
    return as_json({"model": settings["model"], **kept})


def as_yaml(spec: Spec, search: Search) -> str:
    """The preset under a heading that says what was measured, and where."""
    import yaml

    gpus, _ = find_gpus()
    where, n_trials = gpus[0].name if gpus else "a CPU", sum(trial.is_measured for trial in search.trials)
    times, long = ratio(search.start, search.best), search.confirmed_ratio
    beside = f", {times:.2f} times the start's" if times else ", where the start did not finish"
    confirmed = f"; in runs of full length {long:.2f} times" if long else ""
    lines = (
        f"Found by toolkit bench tune {spec.path.name} on {where}, in {n_trials} trials of a few steps.",
        f"Measured: {search.best.completions_per_s:,.1f} completions/s{beside}{confirmed}.",
        f"What is not as it was at the start: {search.best.told(search.start)}.",
        "What is not named here is the recipe's default.",
    )
    heading = "".join(f"# {line}\n" for line in lines)
    return heading + yaml.safe_dump(preset_of(spec, search.cell), sort_keys=False, allow_unicode=True)
