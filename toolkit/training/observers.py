"""The one TrainerCallback: it carries news from the trainer to the recorder, the run folder and the view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit.compat.trl import advance_sampler
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
