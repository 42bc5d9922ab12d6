"""From the trainer to its observers: two wrapped methods and one callback tell them what happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.compat import trl as trl_compat
from toolkit.machine import processes
from toolkit.rewards.completions import text_of
from toolkit.training.grpo import Assembly
from toolkit.training.observers import Observer, Round

if TYPE_CHECKING:
    from transformers import TrainerCallback


class Events:
    """Tells observers, in their order, of a trainer's steps and rounds."""

    def __init__(
        self, assembly: Assembly, observers: Sequence[Observer], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._observers, self._clock = observers, clock
        self._reward_names = assembly.trainer.reward_func_names
        self._num_generations = assembly.batch.num_generations
        self._step = 1
        self._rollout_s = 0.0
        trl_compat.wrap_method(assembly.trainer, trl_compat.GENERATE, self._timed)
        trl_compat.wrap_method(assembly.trainer, trl_compat.CALCULATE_REWARDS, self._told)
        assembly.trainer.add_callback(self._callback())

    def _timed(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self._clock()
            try:
                return generate(*args, **kwargs)
            finally:
                self._rollout_s += self._clock() - start

        return timed

    def _told(self, calculate: Callable[..., Any]) -> Callable[..., Any]:
        def told(inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
            start = self._clock()
            rewards = calculate(inputs, prompts, completions, completion_ids_list)
            reward_s = self._clock() - start
            own = [
                {
                    "prompt": prompt if isinstance(prompt, str) else prompt[-1]["content"],
                    "completion": text_of(completion),
                    "answer": row.get("answer"),
                    "n_tokens": len(ids),
                }
                for row, prompt, completion, ids in zip(inputs, prompts, completions, completion_ids_list, strict=True)
            ]
            # TRL has gathered the rewards, in the order of ranks; the rest is this process's own
            every = [row for part in processes.gather(own) for row in part]
            rollout_s, self._rollout_s = self._rollout_s, 0.0
            names, size = self._reward_names, self._num_generations
            done = Round(self._step, names, size, every, rewards.tolist(), rollout_s, reward_s)
            for observer in self._observers:
                observer.round_done(done)
            return rewards

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
