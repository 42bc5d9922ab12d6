"""A trainer for the embedded model as a recipe builds it, with its run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.paths import CONFIGS
from toolkit import data, models, runs
from toolkit.backends.transformers import TransformersBackend
from toolkit.rewards import correct, format
from toolkit.settings import GrpoSettings, flatten
from toolkit.settings.parse import parse, read_yaml
from toolkit.training import Reward, build_trainer

PRESET = CONFIGS / "embedded.yaml"


@dataclass(frozen=True)
class Built:
    """A trainer, the settings that it was asked for, and the run that it belongs to."""

    trainer: Any
    settings: GrpoSettings
    run: runs.Run


def build(folder: Path, *argv: str, resume: bool = False) -> Built:
    """Build a trainer with the CPU preset and these flags."""
    settings = parse(GrpoSettings, [*argv, "--output_dir", str(folder)], [(str(PRESET), read_yaml(PRESET))])
    run = runs.reopen(folder) if resume else runs.create("parity", folder, flatten(settings))
    problems = data.load(settings.data, settings.record.seed)
    backend = TransformersBackend(None)
    policy = backend.load(settings, models.locate(settings.model.model))
    rewards = [Reward(correct), Reward(format, 0.25)]
    return Built(build_trainer(policy, problems.train[:64], rewards, settings, run, backend), settings, run)
