"""Batch arithmetic of GRPO, solved before anything loads.

TRL counts completions: one round of rollouts makes `per_device_train_batch_size x steps_per_generation x
n_processes` of them, in groups of `num_generations` that must come out whole. Unsloth would raise the batch
silently instead of refusing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from toolkit.errors import SettingsError


class BatchSettings(Protocol):
    """Anything with TRL's four names: a recipe's rollout settings, a planned request."""

    @property
    def num_generations(self) -> int: ...
    @property
    def per_device_train_batch_size(self) -> int: ...
    @property
    def gradient_accumulation_steps(self) -> int: ...
    @property
    def steps_per_generation(self) -> int | None: ...


@dataclass(frozen=True)
class Batch:
    """What one optimizer step and one round of rollouts consist of."""

    num_generations: int
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    steps_per_generation: int
    n_processes: int = 1

    @classmethod
    def of(cls, settings: BatchSettings, n_processes: int = 1) -> Batch:
        """The batch that the settings ask for: steps_per_generation is gradient_accumulation_steps where it is None."""
        return cls(
            settings.num_generations,
            settings.per_device_train_batch_size,
            settings.gradient_accumulation_steps,
            settings.steps_per_generation or settings.gradient_accumulation_steps,
            n_processes,
        )

    @property
    def generation_batch_size(self) -> int:
        """Completions rolled out in one round."""
        return self.per_device_train_batch_size * self.steps_per_generation * self.n_processes

    @property
    def prompts_per_generation(self) -> int:
        """Distinct prompts in one round of rollouts."""
        return self.generation_batch_size // self.num_generations

    def steps_per_round(self, num_iterations: int = 1) -> int:
        """Optimizer steps after which rollouts and updates are in phase again: where a checkpoint can resume.

        Between those steps TRL holds completions in memory that no checkpoint contains.
        """
        micro_steps = math.lcm(self.steps_per_generation * num_iterations, self.gradient_accumulation_steps)
        return micro_steps // self.gradient_accumulation_steps


def solve(settings: BatchSettings, n_processes: int = 1) -> Batch:
    """The batch of these settings; where it makes no whole groups, a SettingsError names the nearest that do."""
    batch = Batch.of(settings, n_processes)
    if batch.generation_batch_size % batch.num_generations == 0:
        return batch
    factors = [f"per_device_train_batch_size {batch.per_device_train_batch_size}"]
    step_name = "steps_per_generation" if settings.steps_per_generation else "gradient_accumulation_steps"
    factors.append(f"{step_name} {batch.steps_per_generation}")
    if n_processes > 1:
        factors.append(f"{n_processes} processes")
    raise SettingsError(
        f"{' x '.join(factors)} = {batch.generation_batch_size} completions a round",
        f"a multiple of num_generations {batch.num_generations}",
        "nearest: " + ", or ".join(_nearest_valid(batch, step_name)),
    )


def check_save_steps(batch: Batch, save_steps: int, num_iterations: int = 1) -> None:
    """Refuse settings under which a checkpoint could fall inside a round of rollouts (see `Batch.steps_per_round`).

    Raises:
        SettingsError: rounds and optimizer steps do not nest, so that each epoch would shift them against each other;
            or `save_steps` is no multiple of a round.
    """
    if num_iterations < 1:
        name = "--grpo.num_iterations"
        raise SettingsError(f"{name} is {num_iterations}", "at least 1", f"for example {name} 1")
    per_round, per_step = batch.steps_per_generation * num_iterations, batch.gradient_accumulation_steps
    if per_round % per_step and per_step % per_round:
        raise SettingsError(
            f"a round of {per_round} forward passes (steps_per_generation {batch.steps_per_generation}"
            f"{f' x num_iterations {num_iterations}' if num_iterations > 1 else ''}) against "
            f"gradient_accumulation_steps {per_step}",
            "one a multiple of the other, or no checkpoint could be resumed exactly",
            f"for example --steps_per_generation {per_step}",
        )
    in_phase = batch.steps_per_round(num_iterations)
    if save_steps % in_phase:
        raise SettingsError(
            f"--save_steps {save_steps} saves inside a round of rollouts, which is {in_phase} steps long",
            f"a multiple of {in_phase}, or a resumed run would differ",
            f"for example --save_steps {-(-save_steps // in_phase) * in_phase}",
        )


def _nearest_valid(batch: Batch, step_name: str) -> list[str]:
    """Single changes that make whole groups, one flag each, the nearest value in each direction.

    Always holds at least one change of the batch size and one of `num_generations`.
    """
    rest = batch.steps_per_generation * batch.n_processes
    unit = batch.num_generations // math.gcd(batch.num_generations, rest)
    below = batch.per_device_train_batch_size // unit * unit
    sizes = [size for size in (below, below + unit) if size > 0]
    groups = [g for g in range(2, batch.generation_batch_size + 1) if batch.generation_batch_size % g == 0]
    nearest_group = min(groups, key=lambda g: (abs(g - batch.num_generations), -g), default=None)
    whole = batch.num_generations // math.gcd(
        batch.num_generations, batch.per_device_train_batch_size * batch.n_processes
    )
    steps = math.ceil(batch.steps_per_generation / whole) * whole
    options = [f"--per_device_train_batch_size {size}" for size in sizes]
    if nearest_group:
        options.append(f"--num_generations {nearest_group}")
    return [*options, f"--{step_name} {steps}"]
