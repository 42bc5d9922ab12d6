"""When a run checks its sampler, what it records of it, and the stop at red."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from toolkit.backends.base import count_4bit
from toolkit.errors import ParityError
from toolkit.findings import Level
from toolkit.machine import processes
from toolkit.runs import Run, metrics
from toolkit.runs.names import PARITY
from toolkit.training.checkpoint import save_steps_done
from toolkit.training.events import Observer
from toolkit.training.grpo import Assembly
from toolkit.training.parity.check import Check, check_parity
from toolkit.training.parity.judgement import ALL, compare
from toolkit.training.parity.sample import Sampled, sampler_of, score

N_PROMPTS = 8
"""Prompts of a check, the first of the training data: some 300 tokens, over which chance is below 1 % of a share."""

LEVEL_NUMBERS: dict[Level, float] = {"green": 0.0, "amber": 1.0, "red": 2.0}


class Gate(Observer):
    """Checks before the first step of this process, then every `parity_steps`, where a round of rollouts begins."""

    def __init__(self, assembly: Assembly, run: Run, say: Callable[[str], None]) -> None:
        self._trainer, self._run, self._say = assembly.trainer, run, say
        self._every = assembly.resolved.settings.rollout.parity_steps
        self._steps_per_round = assembly.steps_per_round
        self._last_checked: int | None = None
        self._reference: Sampled | None = None
        self._base_logps: list[float] = []
        self._metrics: dict[str, float] = {}

    def before_step(self, n_done: int) -> None:
        """Check, if it is time to; red is a ParityError, with the steps in a checkpoint, the numbers in parity.json."""
        if not self._is_due(n_done):
            return
        is_first = self._last_checked is None
        drift = self._base_drift()
        result = check_parity(self._trainer, self._prompts(), every_part=is_first, drift_so_far=drift)
        if result.finding.level == "red" and not is_first:  # find out which part it is
            result = check_parity(self._trainer, self._prompts(), drift_so_far=drift)
        if is_first:
            self._keep_base(result)
        self._last_checked = n_done
        self._record(n_done + 1, replace(result, drift=max(result.drift, drift)))
        self._tell(n_done, result, is_first)

    def metrics(self, step: int) -> Mapping[str, float]:
        """Metrics of the last check, once: they belong to the step that it came before."""
        found, self._metrics = self._metrics, {}
        return found

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
        earlier = [row for row in self._run.document(PARITY).get("checks", []) if row["step"] < step]
        self._run.write(PARITY, {"checks": [*earlier, {"step": step, **result.record()}]})
        shares = {probe.part: probe.applied for probe in result.probes if probe.applied is not None}
        self._metrics = {
            metrics.PARITY_LEVEL: LEVEL_NUMBERS[result.finding.level],
            metrics.PARITY_NOISE: result.probes[0].noise_mean,
            metrics.PARITY_NOISE_MAX: result.probes[0].noise_max,
            metrics.PARITY_DRIFT: result.drift,
            metrics.PARITY_S: result.seconds,
        }
        if shares:
            self._metrics[metrics.PARITY_APPLIED] = shares.get(ALL, 0.0)
            self._metrics[metrics.PARITY_APPLIED_MIN] = min(shares.values())

    def _tell(self, n_done: int, result: Check, is_first: bool) -> None:
        finding = result.finding
        if finding.level == "red":
            save_steps_done(self._trainer, self._run, n_done)
            raise ParityError(f"before step {n_done + 1}: {finding.found}", finding.wanted, finding.next_step)
        if finding.level == "amber":
            self._say(f"parity amber before step {n_done + 1}: {finding.found}; {finding.next_step}")
        elif is_first:
            self._say(summary(result))


def open_gate(assembly: Assembly, run: Run, say: Callable[[str], None]) -> Gate | None:
    """Return the gate that the settings ask for; None where there is nothing to check, or it cannot be."""
    asked, trainer = assembly.resolved.settings.rollout.parity, assembly.trainer
    if asked == "off" or (asked == "auto" and sampler_of(trainer, count_4bit(trainer.model) > 0).is_trainer):
        return None
    if processes.sharding().splits_weights:
        say("parity is not checked: no process holds a whole layer to move")
        return None
    return Gate(assembly, run, say)


def summary(result: Check) -> str:
    """One line: what was checked, the result, how long it took."""
    shares = [probe.applied for probe in result.probes if probe.applied is not None]
    names = [probe.part for probe in result.probes[1:] if probe.part != ALL]
    return (
        f"parity: {result.situation.sampler} draws from the weights in training: {min(shares):.2f} to "
        f"{max(shares):.2f} of each move arrives ({', '.join(names)}), "
        f"noise {result.probes[0].noise_mean:.1g} nats a token; {result.seconds:.1f} s"
    )
