"""Who is told of what happens in training, and what they are told: steps, and rounds of completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Round:
    """One round of completions with their rewards, of all processes, in groups of `num_generations`."""

    step: int
    """The optimizer step in progress, counted from 1; one step may take several rounds, one round feed several."""
    reward_names: Sequence[str]
    num_generations: int
    completions: list[dict[str, Any]]
    """`prompt` (its last message), `completion`, `answer`, `n_tokens`; one a completion."""
    rewards: list[list[float]]
    """One a completion, each with a score a reward function; NaN where it could not judge."""
    rollout_s: float
    reward_s: float


class Observer:
    """Every method does nothing unless a subclass says otherwise. They are called in every process of a run."""

    def before_step(self, n_done: int) -> None:
        """`n_done` optimizer steps are done, and the next one is about to begin."""

    def round_done(self, round: Round) -> None:
        """Completions were sampled and judged."""

    def metrics(self, step: int) -> Mapping[str, Any]:
        """What to add to the metrics of a step that has ended."""
        return {}

    def step_done(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A step has ended; `metrics` are TRL's and those that the observers added."""

    def wants_stop(self, step: int) -> bool:
        """Whether training is to end after this step, with a checkpoint."""
        return False
