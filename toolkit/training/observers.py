"""The one TrainerCallback: it carries news from the trainer to the recorder, the run folder and the view."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from toolkit.machine import processes
from toolkit.runs import Run
from toolkit.training.parity import Gate
from toolkit.training.recorder import Recorder
from toolkit.training.stop import Stop

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from toolkit.display.live import View


def build_callback(
    recorder: Recorder, run: Run, view: View, stop: Stop, steps_per_round: int, gate: Gate | None = None
) -> TrainerCallback:
    """Make the callback. `steps_per_round`: a requested stop waits for a multiple of it."""
    import torch
    from transformers import TrainerCallback

    class Observer(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            advance_sampler(kwargs["train_dataloader"], state.global_step, args.gradient_accumulation_steps)

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if gate is not None:
                gate.before_step(state.global_step)  # before the step's clock starts
            recorder.begin_step(state.global_step + 1)

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
        ) -> None:
            if logs is None or "train_runtime" in logs:  # the summary that transformers logs at the end
                return
            metrics = recorder.end_step(logs) | (gate.take_metrics() if gate is not None else {})
            run.append_metrics({"step": state.global_step, **metrics})
            run.write("progress.json", {"step": state.global_step, "wall_s": round(run.wall_s(), 3)})
            view.update(state.global_step, metrics)
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            stop.last_step = state.global_step
            if state.global_step % steps_per_round == 0 and processes.agreed(stop.requested):
                stop.requested = control.should_save = control.should_training_stop = True

    return Observer()


def advance_sampler(dataloader: Any, step: int, gradient_accumulation_steps: int) -> None:
    """Bring TRL's sampler to the permutation of the epoch that a resumed run is in.

    - Symptom: a run resumed in its second epoch sees the first epoch's order again. transformers skips batches
      within the epoch, but TRL's RepeatSampler draws each epoch's permutation from a generator of its own, which
      starts anew with the process.
    - Remove when RepeatSampler implements `set_epoch`.
    """
    import torch

    if step == 0:
        return
    sampler = dataloader
    while not hasattr(sampler, "mini_repeat_count"):
        inner = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)
        if inner is None:
            return  # an iterable dataset has no sampler to advance
        sampler = inner
    steps_per_epoch = max(1, math.ceil(len(dataloader) / gradient_accumulation_steps))  # the last may be a short one
    for _ in range(step // steps_per_epoch):
        torch.randperm(sampler.num_samples, generator=sampler.generator)
