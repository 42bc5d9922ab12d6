"""What is measured and kept of a step: time by phase, tokens a second, groups without signal, memory, completions."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from toolkit.machine.devices import resident_peak_gib, torch_peaks_gib
from toolkit.runs import Run
from toolkit.runs import metrics as keys
from toolkit.runs.groups import zero_std_frac
from toolkit.runs.names import PROGRESS, step_name
from toolkit.training.events import Observer, Round, judgement


class Recorder(Observer):
    """Measures the step in progress, and writes metrics.jsonl, progress.json and the completions.

    With several processes each measures its own time and memory; tokens, completions and groups are those of all. The
    first process writes.
    """

    def __init__(self, run: Run, clock: Callable[[], float] = time.perf_counter) -> None:
        self._run, self._clock = run, clock
        self._started = 0.0
        self._rounds: list[Round] = []

    def before_step(self, n_done: int) -> None:
        self._started, self._rounds = self._clock(), []

    def round_done(self, round: Round) -> None:
        """Keep its completions; a step's file holds those of all its rounds, and is whole after each."""
        self._rounds.append(round)
        kept: list[dict[str, Any]] = []
        for done in self._rounds:
            first_group = len(kept) // done.num_generations
            for i, (row, scores) in enumerate(zip(done.completions, done.rewards, strict=True)):
                named = dict(zip(done.reward_names, map(judgement, scores), strict=True))
                of_round = {"step": done.step, "group": first_group + i // done.num_generations}
                paid = {"rewards": named, "reward": done.totals[i] if done.totals else None}
                if done.advantages is not None:
                    paid["advantage"] = done.advantages[i]
                kept.append({**of_round, **row, **paid})
        self._run.write_completions(step_name(round.step), kept)

    def metrics(self, step: int) -> Mapping[str, Any]:
        """Our figures. Seconds, tokens a second, GiB and shares."""
        step_s = self._clock() - self._started
        rollout_s, reward_s = (sum(getattr(r, name) for r in self._rounds) for name in ("rollout_s", "reward_s"))
        ours: dict[str, Any] = {
            keys.STEP_S: step_s,
            keys.ROLLOUT_S: rollout_s,
            keys.REWARD_S: reward_s,
            keys.UPDATE_S: max(0.0, step_s - rollout_s - reward_s),
            **peak_memory(),
        }
        if rollout_s > 0:
            n_tokens = sum(row["n_tokens"] for done in self._rounds for row in done.completions)
            ours[keys.TOKENS_PER_S] = n_tokens / rollout_s
        if self._rounds:
            fracs = [zero_std_frac(done.rewards, done.num_generations) for done in self._rounds]
            ours[keys.NO_SIGNAL] = sum(fracs) / len(fracs)
        totals = [total for done in self._rounds for total in done.totals if total is not None]
        if totals:
            ours |= {keys.BEST: max(totals), keys.WORST: min(totals)}
        return ours

    def step_done(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._run.append_metrics({keys.STEP: step, **metrics})
        self._run.write(PROGRESS, {"step": step, "wall_s": round(self._run.wall_s(), 3)})
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()  # so that the peaks are a step's


def peak_memory() -> dict[str, float]:
    """Peaks so far in GiB: what torch allocated and reserved on the card, else this process's resident memory."""
    peaks = torch_peaks_gib()
    if peaks is None:
        return {keys.RESERVED_GIB: resident_peak_gib()}
    return {keys.ALLOCATED_GIB: peaks[0], keys.RESERVED_GIB: peaks[1]}
