"""What is measured in a step: time by phase, tokens a second, groups without signal, memory, completions.

A plain object that the trainer's wrapped methods and the one callback report to.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolkit.compat import trl as trl_compat
from toolkit.machine import processes
from toolkit.rewards.completions import text_of
from toolkit.runs import Run
from toolkit.runs.folder import step_name
from toolkit.units import gib
from toolkit.vram.measured import ALLOCATED_KEY, RESERVED_KEY, torch_peaks_gib

VOLATILE = ("time/", "rollout/tokens_per_s", "memory/", "step_time")
"""Metric prefixes that differ between two runs of the same settings: clocks and memory."""


@dataclass
class Recorder:
    """Collects the figures of the step in progress.

    Of several processes each times itself, and tokens, completions and groups are those of all: the first writes them.
    """

    run: Run
    reward_names: Sequence[str]
    num_generations: int
    clock: Callable[[], float] = time.perf_counter
    step: int = 0
    """The optimizer step in progress, counted from 1."""
    _started: float = 0.0
    _rollout_s: float = 0.0
    _reward_s: float = 0.0
    _n_tokens: int = 0
    _zero_std_fracs: list[float] = field(default_factory=list)

    def attach(self, trainer: Any) -> None:
        """Time rollouts and rewards, and keep the completions, by wrapping two methods of this trainer."""
        trl_compat.wrap_method(trainer, trl_compat.GENERATE, self._timed_generate)
        trl_compat.wrap_method(trainer, trl_compat.CALCULATE_REWARDS, self._kept_rewards)

    def begin_step(self, step: int) -> None:
        """Start the clock of optimizer step `step`."""
        self.step, self._started = step, self.clock()
        self._rollout_s = self._reward_s = 0.0
        self._n_tokens = 0
        self._zero_std_fracs = []

    def end_step(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Return TRL's logs with our figures added. Seconds, tokens a second, GiB and shares."""
        step_s = self.clock() - self._started
        ours: dict[str, Any] = {
            "time/step_s": step_s,
            "time/rollout_s": self._rollout_s,
            "time/reward_s": self._reward_s,
            "time/update_s": max(0.0, step_s - self._rollout_s - self._reward_s),
            **peak_memory(),
        }
        if self._rollout_s > 0:
            ours["rollout/tokens_per_s"] = self._n_tokens / self._rollout_s
        if self._zero_std_fracs:
            ours["groups/zero_std_frac"] = sum(self._zero_std_fracs) / len(self._zero_std_fracs)
        return logs | ours

    def _timed_generate(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self.clock()
            try:
                return generate(*args, **kwargs)
            finally:
                self._rollout_s += self.clock() - start

        return timed

    def _kept_rewards(self, calculate: Callable[..., Any]) -> Callable[..., Any]:
        def kept(inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
            start = self.clock()
            rewards = calculate(inputs, prompts, completions, completion_ids_list)
            self._reward_s += self.clock() - start
            self._keep(inputs, prompts, completions, completion_ids_list, rewards.tolist())
            return rewards

        return kept

    def _keep(self, inputs: Any, prompts: Any, completions: Any, ids: Any, rewards: list[list[float]]) -> None:
        """`rewards` are of all processes, in the order of ranks, as TRL gathers them; the rest is this one's own."""
        own = [
            {
                "prompt": prompt if isinstance(prompt, str) else prompt[-1]["content"],
                "completion": text_of(completion),
                "answer": row.get("answer"),
                "n_tokens": len(ids[i]),
            }
            for i, (row, prompt, completion) in enumerate(zip(inputs, prompts, completions, strict=True))
        ]
        rows = [row for part in processes.gather(own) for row in part]
        self._n_tokens += sum(row["n_tokens"] for row in rows)
        self._zero_std_fracs.append(zero_std_frac(rewards, self.num_generations))
        kept = []
        for i, (row, scores) in enumerate(zip(rows, rewards, strict=True)):
            named = {n: _or_none(r) for n, r in zip(self.reward_names, scores, strict=True)}
            kept.append({"step": self.step, "group": i // self.num_generations, **row, "rewards": named})
        self.run.write_completions(step_name(self.step), kept)


def zero_std_frac(rewards: list[list[float]], num_generations: int) -> float:
    """Share of groups in which every completion earned the same, so that none teaches anything; 0 to 1.

    Compared exactly, function by function: TRL's `frac_reward_zero_std` takes the standard deviation of the
    weighted sum and misses groups when a weight is not exact in binary (0.2).
    `rewards` holds one row a completion, in groups of `num_generations`; NaN counts as a value.
    """
    keys = [tuple(None if math.isnan(r) else r for r in row) for row in rewards]
    groups = [keys[i : i + num_generations] for i in range(0, len(keys), num_generations)]
    return sum(len(set(group)) == 1 for group in groups) / len(groups) if groups else 0.0


def peak_memory() -> dict[str, float]:
    """Peaks so far in GiB: what torch allocated and reserved on the card, else this process's resident memory."""
    peaks = torch_peaks_gib()
    if peaks is None:
        return {RESERVED_KEY: _resident_gib()}
    return {ALLOCATED_KEY: peaks[0], RESERVED_KEY: peaks[1]}


def _resident_gib() -> float:
    if sys.platform == "win32":
        import psutil

        return gib(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes there and KiB on Linux
    return gib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
