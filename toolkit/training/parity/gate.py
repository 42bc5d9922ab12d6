"""When a run checks its sampler, what it records of it, and the stop at red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from toolkit.backends.base import count_4bit
from toolkit.compat import trl as trl_compat
from toolkit.compat.contracts import require
from toolkit.errors import ParityError
from toolkit.machine import processes
from toolkit.runs import Run
from toolkit.runs.folder import PARITY_FILE
from toolkit.settings import RolloutSettings
from toolkit.training.parity.check import Check, check_parity
from toolkit.training.parity.sample import Sampled, sampler_of, score
from toolkit.training.parity.tolerance import LEVELS
from toolkit.training.parity.verdict import ALL, compare

N_PROMPTS = 8
"""Prompts of a check, the first of the training data: some 300 tokens, over which chance is below 1 % of a share."""


class Gate:
    """Checks before the first step of this process, and then every `every` steps, where a round of rollouts begins."""

    def __init__(
        self,
        trainer: Any,
        run: Run,
        say: Callable[[str], None],
        *,
        every: int,
        steps_per_round: int = 1,
    ) -> None:
        self._trainer, self._run, self._say = trainer, run, say
        self._every, self._steps_per_round = every, steps_per_round
        self._last_checked: int | None = None
        self._reference: Sampled | None = None
        self._base_logps: list[float] = []
        self._metrics: dict[str, float] = {}

    def before_step(self, n_done: int) -> None:
        """Check, if it is time to. `n_done`: optimizer steps done; the next one is about to begin.

        Raises:
            ParityError: red. What was trained up to now is in a checkpoint, the numbers are in parity.json.
        """
        if not self._is_due(n_done):
            return
        is_first = self._last_checked is None
        drift = self._base_drift()
        result = check_parity(self._trainer, self._prompts(), every_part=is_first, drift_so_far=drift)
        if result.verdict.level == "red" and not is_first:  # find out which part it is
            result = check_parity(self._trainer, self._prompts(), drift_so_far=drift)
        if is_first:
            self._keep_base(result)
        self._last_checked = n_done
        self._record(n_done + 1, replace(result, drift=max(result.drift, drift)))
        self._tell(n_done, result, is_first)

    def take_metrics(self) -> dict[str, float]:
        """Metrics of the last check, once: they belong to the step that it came before."""
        metrics, self._metrics = self._metrics, {}
        return metrics

    def _is_due(self, n_done: int) -> bool:
        if self._last_checked is None:
            return True
        is_time = self._every > 0 and n_done - self._last_checked >= self._every
        return is_time and n_done % self._steps_per_round == 0

    def _prompts(self) -> list[Any]:
        return self._trainer.train_dataset[:N_PROMPTS]["prompt"]

    def _keep_base(self, result: Check) -> None:
        """Remember what the base alone says of the first check's text, if syncs go through it."""
        if result.situation.merges and hasattr(self._trainer.model, "disable_adapter"):
            self._reference = result.reference
            self._base_logps = self._score_base(result.reference)

    def _base_drift(self) -> float:
        """Nats that the base alone has moved by since the first check: by nothing, if syncs leave it alone."""
        if self._reference is None:
            return 0.0
        now = processes.gather(compare("", self._score_base(self._reference), self._base_logps).noise_mean)
        return max(now)

    def _score_base(self, sampled: Sampled) -> list[float]:
        with self._trainer.model.disable_adapter():
            return score(self._trainer, sampled)

    def _record(self, step: int, result: Check) -> None:
        """Into parity.json, where checks of later steps are those of a run before its resume; and for metrics.jsonl."""
        earlier = [row for row in self._run.read(PARITY_FILE).get("checks", []) if row["step"] < step]
        self._run.write(PARITY_FILE, {"checks": [*earlier, {"step": step, **result.record()}]})
        shares = {probe.part: probe.applied for probe in result.probes if probe.applied is not None}
        self._metrics = {
            "parity/level": float(LEVELS.index(result.verdict.level)),
            "parity/noise_mean": result.probes[0].noise_mean,
            "parity/noise_max": result.probes[0].noise_max,
            "parity/drift": result.drift,
            "time/parity_s": result.seconds,
        }
        if shares:
            self._metrics |= {"parity/applied": shares.get(ALL, 0.0), "parity/applied_min": min(shares.values())}

    def _tell(self, n_done: int, result: Check, is_first: bool) -> None:
        verdict = result.verdict
        if verdict.level == "red":
            self._save(n_done)
            raise ParityError(
                f"before step {n_done + 1}: {verdict.found}",
                "rollouts from the weights in training",
                f"probably {verdict.why}; {verdict.remedy}",
            )
        if verdict.level == "amber":
            self._say(f"parity amber before step {n_done + 1}: {verdict.found}; probably {verdict.why}")
        elif is_first:
            self._say(summary(result))

    def _save(self, n_done: int) -> None:
        """Keep the steps done, which the next checkpoint would have kept."""
        folder = self._run.checkpoints / f"checkpoint-{n_done}"
        if n_done > 0 and not processes.on_main(folder.exists):
            require(self._trainer, trl_compat.SAVE_CHECKPOINT, trl_compat.RELEASE)(self._trainer.model, trial=None)


def open_gate(
    trainer: Any, settings: RolloutSettings, run: Run, say: Callable[[str], None], *, steps_per_round: int
) -> Gate | None:
    """Return the gate that the settings ask for; None where there is nothing to check, or it cannot be."""
    sampler = sampler_of(trainer, count_4bit(trainer.model) > 0)
    if settings.parity == "off" or (settings.parity == "auto" and sampler.is_trainer):
        return None
    if processes.sharding() in ("fsdp", "zero3"):
        say("parity is not checked: no process holds a whole layer to move")
        return None
    return Gate(trainer, run, say, every=settings.parity_steps, steps_per_round=steps_per_round)


def summary(result: Check) -> str:
    """One line: what was checked, the result, how long it took."""
    shares = [probe.applied for probe in result.probes if probe.applied is not None]
    names = [probe.part for probe in result.probes[1:] if probe.part != ALL]
    return (
        f"parity: {result.situation.sampler} draws from the weights in training: {min(shares):.2f} to "
        f"{max(shares):.2f} of each move arrives ({', '.join(names)}), "
        f"noise {result.probes[0].noise_mean:.1g} nats a token; {result.seconds:.1f} s"
    )
