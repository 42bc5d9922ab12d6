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
from toolkit.settings.resolved import Resolved
from toolkit.training import Assembly, Reward, build_trainer

PRESET = CONFIGS / "embedded.yaml"


@dataclass(frozen=True)
class Built:
    """A trainer that is ready, and the run that it belongs to."""

    assembly: Assembly
    run: runs.Run

    @property
    def trainer(self) -> Any:
        return self.assembly.trainer


def build(folder: Path, *argv: str, resume: bool = False) -> Built:
    """Build a trainer with the CPU preset and these flags."""
    settings = parse(GrpoSettings, [*argv, "--output_dir", str(folder)], [(str(PRESET), read_yaml(PRESET))])
    run = runs.reopen(folder) if resume else runs.create("parity", folder, flatten(settings))
    problems = data.load(settings.data, settings.record.seed)
    backend = TransformersBackend(None)
    source = models.locate(settings.model.model)
    policy = backend.load(settings.model, source, settings.lengths, settings.record.seed)
    rewards, resolved = [Reward(correct), Reward(format, 0.25)], Resolved.of(settings)
    return Built(build_trainer(policy, problems.train[:64], rewards, resolved, run, backend), run)
