"""What each phase of a step takes: seconds of those that no one else times, peaks of memory, forward passes.

A step is rollout, reward and update; inside the rollout vLLM gets the trained weights (sync), inside the rest of a step
come passes that only score (reference). Peaks are counted by torch and the system from phase to phase, not sampled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from toolkit.compat import trl as trl_compat
from toolkit.machine.peaks import peaks_since_reset, reset_peaks
from toolkit.runs import metrics as keys
from toolkit.training.events import Observer

ROLLOUT, REWARD, REFERENCE, UPDATE, SYNC = "rollout", "reward", "reference", "update", "sync"
BETWEEN = "between"
"""What is done between two steps: a checkpoint, the parity check; before the first, loading and measuring."""
TIMED = {REFERENCE: keys.REFERENCE_S, SYNC: keys.SYNC_S}


class Phases(Observer):
    """Follows a trainer through the phases of its steps."""

    def __init__(self, trainer: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._phase, self._since = BETWEEN, clock()
        self._seconds: dict[str, float] = {}
        self._peaks: dict[str, dict[str, float]] = {}
        self._count = count_forward_passes(trainer.model)
        self._n_before = 0
        trl_compat.wrap_method(trainer, trl_compat.GENERATE, self._during(ROLLOUT))
        trl_compat.wrap_method(trainer, trl_compat.CALCULATE_REWARDS, self._during(REWARD))
        trl_compat.wrap_method(trainer, trl_compat.SCORE, self._during(REFERENCE, unless=_learns))
        sampler = getattr(trainer, trl_compat.VLLM, None)
        if sampler is not None:
            trl_compat.wrap_method(sampler, trl_compat.SYNC, self._during(SYNC))

    def before_step(self, n_done: int) -> None:
        self._enter(UPDATE)
        self._peaks = {phase: peaks for phase, peaks in self._peaks.items() if phase == BETWEEN}
        self._seconds, self._n_before = {}, self._count()

    def metrics(self, step: int) -> Mapping[str, Any]:
        """Seconds of reference and sync where there were any, GiB by phase and of the step, and forward passes."""
        self._enter(BETWEEN)
        found: dict[str, Any] = {key: self._seconds[name] for name, key in TIMED.items() if name in self._seconds}
        found[keys.FORWARD_PASSES] = self._count() - self._n_before
        for phase, peaks in self._peaks.items():
            found |= {keys.of_a_phase(phase, kind): value for kind, value in peaks.items()}
        for kind in next(iter(self._peaks.values())):
            of_the_step = keys.ALLOCATED_GIB if kind == "allocated" else keys.RESERVED_GIB
            found[of_the_step] = max(peaks[kind] for peaks in self._peaks.values())
        self._peaks = {}
        return found

    def _during(
        self, phase: str, unless: Callable[[], bool] = lambda: False
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
            def followed(*args: Any, **kwargs: Any) -> Any:
                if self._phase == BETWEEN or unless():  # a check before the first step has peaks of its own
                    return method(*args, **kwargs)
                with self._within(phase):
                    return method(*args, **kwargs)

            return followed

        return wrap

    @contextmanager
    def _within(self, phase: str) -> Iterator[None]:
        outer = self._phase
        self._enter(phase)
        try:
            yield
        finally:
            if phase == REFERENCE:
                _wait_for_the_card()  # or its last pass would be counted as the update's
            self._enter(outer)

    def _enter(self, phase: str) -> None:
        """End the phase in progress and begin another."""
        now, peaks = self._clock(), peaks_since_reset()
        so_far = self._peaks.get(self._phase, {})
        self._peaks[self._phase] = {kind: max(value, so_far.get(kind, 0.0)) for kind, value in peaks.items()}
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now
        reset_peaks()


def count_forward_passes(model: Any) -> Callable[[], int]:
    """Count from now on how often the model's decoder runs; what checkpointing computes again is not counted.

    Of PEFT's model and transformers' own neither runs for every pass: one trains, the other generates. The decoder in
    both does, but where Unsloth decodes by a path of its own.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    n_passes = 0

    def count(*_: Any) -> None:
        nonlocal n_passes
        n_passes += 1

    getattr(base, "base_model", base).register_forward_hook(count)
    return lambda: n_passes


def _learns() -> bool:
    """Whether a pass is to be differentiated: the update's own, unlike those that only score."""
    import torch

    return torch.is_grad_enabled()


def _wait_for_the_card() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
