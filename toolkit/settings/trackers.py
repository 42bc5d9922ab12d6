"""`--report_to`: which trackers a run reports to, found and checked without importing any."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence

from toolkit.errors import SettingsError, did_you_mean

# Transformers' name of a tracker -> modules of which one will do, and what to install
TRACKERS: dict[str, tuple[tuple[str, ...], str]] = {
    "azure_ml": (("azureml.core.run",), "azureml-sdk"),
    "clearml": (("clearml",), "clearml"),
    "codecarbon": (("codecarbon",), "codecarbon"),
    "comet_ml": (("comet_ml",), "comet-ml"),
    "dagshub": (("dagshub",), "dagshub mlflow"),
    "dvclive": (("dvclive",), "dvclive"),
    "flyte": (("flytekit",), "flytekit"),
    "kubeflow": (("transformers",), "transformers"),  # speaks HTTP to the server that the variable names
    "mlflow": (("mlflow",), "mlflow"),
    "neptune": (("neptune",), "neptune"),
    "swanlab": (("swanlab",), "swanlab"),
    "tensorboard": (("tensorboard", "tensorboardX"), "tensorboard"),
    "trackio": (("trackio",), "trackio"),
    "wandb": (("wandb",), "wandb"),
}
NEEDS_VARIABLE = {"kubeflow": "KUBEFLOW_TRAINER_SERVER_URL"}
NEEDS_KEY = {"comet_ml": "COMET_API_KEY"}
"""A file may hold it as well, so it is asked for only where nobody named the tracker."""
WITH_TABLES = ("wandb", "trackio")
"""Those that TRL sends completions to (`log_completions`)."""
AUTO, ALL, NONE = "auto", "all", "none"


def trackers(report_to: Sequence[str]) -> list[str]:
    """The trackers that `--report_to` means here, by transformers' names.

    `auto` is TensorBoard where it is installed, `all` every tracker that is installed, `none` none.

    Raises:
        SettingsError: an unknown name, with the nearest; a tracker that is not installed; a word beside names.
    """
    for word in (AUTO, ALL, NONE):
        if word in report_to and len(report_to) > 1:
            raise SettingsError(f"--report_to has {word} beside {len(report_to) - 1} more", f"{word} alone, or names")
    if list(report_to) == [AUTO]:
        return ["tensorboard"] if _is_installed("tensorboard") else []
    if list(report_to) == [NONE]:
        return []
    if list(report_to) == [ALL]:
        keys = NEEDS_VARIABLE | NEEDS_KEY
        return [name for name in TRACKERS if _is_installed(name) and (name not in keys or keys[name] in os.environ)]
    return list(dict.fromkeys(map(_checked, report_to)))


def _checked(name: str) -> str:
    if name not in TRACKERS:
        known = [*TRACKERS, AUTO, ALL, NONE]
        raise SettingsError(f"--report_to is {name!r}", did_you_mean(name, known) or f"one of {', '.join(known)}")
    if not _is_installed(name):
        found = f"--report_to {name}: it is not installed"
        raise SettingsError(found, "an installed tracker", f"pip install {TRACKERS[name][1]}, or --report_to none")
    variable = NEEDS_VARIABLE.get(name)
    if variable and variable not in os.environ:
        raise SettingsError(f"--report_to {name} without {variable}", "the address of its server in that variable")
    return name


def _is_installed(name: str) -> bool:
    return any(_is_there(module) for module in TRACKERS[name][0])


def _is_there(module: str) -> bool:
    """Whether it can be imported: a mere folder of that name, as wandb leaves one, cannot."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package above it
        return False
    return spec is not None and spec.origin is not None
