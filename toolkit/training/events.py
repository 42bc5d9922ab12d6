"""Who is told of what happens in training, and how: two wrapped methods and one callback of the trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from toolkit.compat import trl as trl_compat
from toolkit.machine import processes
from toolkit.rewards.completions import FINISH_REASON, finish_reason, text_of
from toolkit.runs.completions import weighted_sum
from toolkit.training.grpo import Assembly

if TYPE_CHECKING:
    from transformers import TrainerCallback


@dataclass(frozen=True)
class Round:
    """One round of completions with their rewards, of all processes, in groups of `num_generations`."""

    step: int
    """The optimizer step in progress, counted from 1; one step may take several rounds, one round feed several."""
    reward_names: Sequence[str]
    num_generations: int
    completions: list[dict[str, Any]]
    """`prompt` (its last message), `completion`, `answer`, `n_tokens`, `finish_reason`; one a completion."""
    rewards: list[list[float]]
    """One a completion, each with a score a reward function; NaN where it could not judge."""
    rollout_s: float
    reward_s: float
    totals: Sequence[float | None] = ()
    """One a completion: the weighted sum of its scores; None where none of them could judge."""
    advantages: Sequence[float] | None = None
    """One a completion, as the loss gets it; None where TRL did not keep them."""


def judgement(score: float) -> float | None:
    """A score as TRL has it, where NaN says that the function could not judge."""
    return None if math.isnan(score) else score


class Observer:
    """Every method does nothing unless a subclass says otherwise. They are called in every process of a run."""

    def before_step(self, n_done: int) -> None:
        """`n_done` optimizer steps are done, and the next one is about to begin."""

    def round_done(self, round: Round) -> None:
        """Completions were sampled and judged, and their advantages are known."""

    def metrics(self, step: int) -> Mapping[str, Any]:
        """What to add to the metrics of a step that has ended."""
        return {}

    def step_done(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A step has ended; `metrics` are TRL's and those that the observers added."""

    def wants_stop(self, step: int) -> bool:
        """Whether training is to end after this step, with a checkpoint."""
        return False


class Events:
    """Tells observers, in their order, of a trainer's steps and rounds."""

    def __init__(self, assembly: Assembly, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._reward_names = assembly.trainer.reward_func_names
        self._num_generations = assembly.batch.num_generations
        self._ending_ids = trl_compat.ending_ids(assembly.trainer)
        self._step = 1
        self._rollout_s = 0.0
        self._judged: Round | None = None
        self._trainer = assembly.trainer
        trl_compat.wrap_method(assembly.trainer, trl_compat.GENERATE, self._timed)
        trl_compat.wrap_method(assembly.trainer, trl_compat.CALCULATE_REWARDS, self._judging)
        trl_compat.wrap_method(assembly.trainer, trl_compat.SCORE_ROUND, self._told)
        assembly.trainer.add_callback(self._callback())

    def _timed(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return generate(*args, **kwargs)
            finally:
                self._rollout_s += time.perf_counter() - start

        return timed

    def _judging(self, calculate: Callable[..., Any]) -> Callable[..., Any]:
        def judging(inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
            start = time.perf_counter()
            # a column that rewards may read, as every other: which completions are truncated is known here only
            ends = [finish_reason(not ids or ids[-1] not in self._ending_ids) for ids in completion_ids_list]
            inputs = [{FINISH_REASON: end, **row} for row, end in zip(inputs, ends, strict=True)]
            rewards = calculate(inputs, prompts, completions, completion_ids_list)
            reward_s = time.perf_counter() - start
            own = [
                {
                    "prompt": prompt if isinstance(prompt, str) else prompt[-1]["content"],
                    "completion": text_of(completion),
                    "answer": row.get("answer"),
                    "n_tokens": len(ids),
                    FINISH_REASON: row[FINISH_REASON],
                }
                for row, prompt, completion, ids in zip(inputs, prompts, completions, completion_ids_list, strict=True)
            ]
            # TRL has gathered the rewards, in the order of ranks; the rest is this process's own
            every = [row for part in processes.gather(own) for row in part]
            rollout_s, self._rollout_s = self._rollout_s, 0.0
            names, size = self._reward_names, self._num_generations
            self._judged = Round(self._step, names, size, every, rewards.tolist(), rollout_s, reward_s)
            return rewards

        return judging

    def _told(self, score: Callable[..., Any]) -> Callable[..., Any]:
        def told(*args: Any, **kwargs: Any) -> Any:
            scored = score(*args, **kwargs)
            judged, self._judged = self._judged, None
            if judged is not None:
                weights = trl_compat.reward_weights(self._trainer)
                totals = [weighted_sum(map(judgement, scores), weights) for scores in judged.rewards]
                advantages = trl_compat.advantages(self._trainer, len(judged.completions))
                done = replace(judged, totals=totals, advantages=advantages)
                for observer in self._observers:
                    observer.round_done(done)
            return scored

        return told

    def _callback(self) -> TrainerCallback:
        from transformers import TrainerCallback

        events, observers = self, self._observers

        class Teller(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                dataloader = kwargs["train_dataloader"]
                trl_compat.advance_sampler(dataloader, state.global_step, args.gradient_accumulation_steps)

            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                events._step = state.global_step + 1
                for observer in observers:
                    observer.before_step(state.global_step)

            def on_log(
                self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
            ) -> None:
                if logs is None or "train_runtime" in logs:  # the summary that transformers logs at the end
                    return
                metrics = dict(logs)
                for observer in observers:
                    metrics |= observer.metrics(state.global_step)
                for observer in observers:
                    observer.step_done(state.global_step, metrics)

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                asked = [observer.wants_stop(state.global_step) for observer in observers]  # all: an answer may gather
                if any(asked):
                    control.should_save = control.should_training_stop = True

        return Teller()
