"""What a phase of a step takes is counted for that phase."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.machine.peaks import peaks_since_reset, proportional_gib, reset_peaks, resident_peak_gib
from toolkit.runs import metrics
from toolkit.training.phases import Phases

MIB = 1 << 20


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Sampler:
    """Stands where TRL keeps vLLM."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def sync_weights(self) -> None:
        self._clock.now_s += 0.5


class Trainer:
    """The methods of GRPOTrainer that are followed, each of which takes seconds, memory and passes."""

    def __init__(self, clock: Clock) -> None:
        import torch

        self._clock, self._torch = clock, torch
        self.model = torch.nn.Linear(2, 2)
        self.vllm_generation: Sampler | None = Sampler(clock)

    def _pass(self) -> None:
        self.model(self._torch.zeros(1, 2))

    def _generate(self, prompts: Any) -> None:
        if self.vllm_generation:
            self.vllm_generation.sync_weights()
        self._clock.now_s += 2
        for _ in range(3):
            self._pass()
        bytearray(200 * MIB)

    def _calculate_rewards(self, *_: Any) -> None:
        self._clock.now_s += 1

    def _get_per_token_logps_and_entropies(self) -> None:
        self._clock.now_s += 4
        self._pass()


def test_a_step_is_divided_among_its_phases() -> None:
    import torch

    clock = Clock()
    trainer = Trainer(clock)
    phases = Phases(trainer, clock)
    rows = []
    for n_done in (0, 1):
        phases.before_step(n_done)
        trainer._generate(None)
        trainer._calculate_rewards()
        with torch.no_grad():
            trainer._get_per_token_logps_and_entropies()  # scores
        trainer._get_per_token_logps_and_entropies()  # learns
        rows.append(phases.metrics(n_done + 1))
        trainer._generate(None)  # a parity check, between two steps
    for row in rows:
        assert (row[metrics.SYNC_S], row[metrics.REFERENCE_S], row[metrics.FORWARD_PASSES]) == (0.5, 4.0, 5)
    of = {phase: rows[1][metrics.of_a_phase(phase, "resident")] for phase in ("rollout", "reward", "update")}
    assert of["rollout"] - of["reward"] == pytest.approx(200 / 1024, abs=0.05)
    assert of["reward"] == pytest.approx(of["update"], abs=0.05)
    between = rows[1][metrics.of_a_phase("between", "resident")]
    assert between == pytest.approx(of["rollout"], abs=0.05), "where a check of it is counted"
    assert rows[1][metrics.RESERVED_GIB] == max(of["rollout"], between)
    assert all(metrics.is_volatile(metrics.of_a_phase(phase, "allocated")) for phase in of)


def test_a_trainer_without_vllm_has_no_sync() -> None:
    clock = Clock()
    trainer = Trainer(clock)
    trainer.vllm_generation = None
    phases = Phases(trainer, clock)
    phases.before_step(0)
    assert metrics.SYNC_S not in phases.metrics(1)


def test_a_peak_is_not_forgotten_where_counting_starts_anew() -> None:
    bytearray(150 * MIB)
    largest = resident_peak_gib()
    reset_peaks()
    assert peaks_since_reset()["resident"] < largest - 0.1 < resident_peak_gib()
    assert 0 < (proportional_gib() or 0.0) < largest
