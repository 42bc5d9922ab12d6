"""Train with everything attached: records, view, stop and resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit.compat.noise import hush_checkpoint_times
from toolkit.errors import SettingsError
from toolkit.runs import Run, checkpoint_step
from toolkit.settings import GrpoSettings
from toolkit.training.grpo import batch_of, differences
from toolkit.training.observers import build_callback
from toolkit.training.recorder import Recorder
from toolkit.training.stop import Stop

if TYPE_CHECKING:
    from toolkit.live import View


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user, after the step and its checkpoint were finished."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"stopped after step {step}, which is saved")


def train(trainer: Any, settings: GrpoSettings, run: Run, view: View) -> int:
    """Train to max_steps, from the last complete checkpoint of a resumed run; return the number of steps done.

    Raises:
        Interrupted: the user asked to stop; a checkpoint of that step is on disk.
    """
    for difference in differences(settings, run):
        view.say(f"setting changed: {difference}")
    batch = batch_of(trainer)
    recorder = Recorder(run, trainer.reward_func_names, batch.num_generations)
    recorder.attach(trainer)
    hush_checkpoint_times()
    checkpoint = run.last_checkpoint() if run.resumed else None
    if run.resumed:
        step = checkpoint_step(checkpoint) if checkpoint else 0
        run.rewind_to(step)
        view.state.step = step
        view.say(f"resuming after step {step} of {settings.optim.max_steps}")
    with Stop(view.say) as stop:
        steps_per_round = batch.steps_per_round(trainer.args.num_iterations)
        trainer.add_callback(build_callback(recorder, run, view, stop, steps_per_round))
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except ValueError as error:
            raise _blame(error, settings) from error
    done = int(trainer.state.global_step)
    if stop.requested and done < settings.optim.max_steps:
        raise Interrupted(done)
    return done


def _blame(error: ValueError, settings: GrpoSettings) -> ValueError:
    """TRL checks some fields only in the first step: an error that quotes a `--grpo` value is about that field."""
    for name, value in settings.grpo.items():
        if isinstance(value, str) and value in str(error):
            return SettingsError(f"--grpo.{name} {value}: {error}", "a value that TRL knows", "see TRL's GRPOConfig")
    return error
