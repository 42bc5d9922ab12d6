"""Train with everything attached: records, view, stop and resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.compat import trl as trl_compat
from toolkit.compat.noise import hush_checkpoint_times
from toolkit.errors import SettingsError
from toolkit.machine import processes
from toolkit.runs import Run
from toolkit.runs.names import SETTINGS
from toolkit.runs.reader import checkpoint_step
from toolkit.settings import GrpoSettings
from toolkit.training.events import Events, Observer
from toolkit.training.figures import declared_ranges
from toolkit.training.grpo import Assembly
from toolkit.training.guard import NumberGuard, diverged_sampling
from toolkit.training.longest import open_longest
from toolkit.training.notices import differences, notices
from toolkit.training.parity.gate import open_gate
from toolkit.training.phases import Phases
from toolkit.training.recorder import Recorder
from toolkit.training.stop import Stop
from toolkit.training.watch import open_watch

if TYPE_CHECKING:
    from toolkit.display.live import View


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user, after the step and its checkpoint were finished."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"stopped after step {step}, which is saved")


class Shown(Observer):
    """Brings each step to the view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def step_done(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._view.update(step, metrics)


def train(assembly: Assembly, run: Run, view: View) -> int:
    """Train to max_steps, from the last complete checkpoint of a resumed run; return the number of steps done.

    Raises:
        Interrupted: the user asked to stop; a checkpoint of that step is on disk.
        ParityError: the rollouts do not come from the weights in training; a checkpoint of the steps done is on disk.
        DivergedError: a gradient is no number; the weights are those of the step before, the batch is on disk.
    """
    trainer, settings = assembly.trainer, assembly.resolved.settings
    for line in notices(assembly):
        view.say(line)
    run.update(SETTINGS, differences=differences(assembly))
    hush_checkpoint_times()
    checkpoint = processes.on_main(run.last_checkpoint) if run.resumed else None
    if run.resumed:
        step = checkpoint_step(checkpoint) if checkpoint else 0
        run.rewind_to(step)
        if gap := run.gap_before(step):
            view.say(gap)
        view.state.step = step
        view.say(f"resuming after step {step} of {settings.optim.max_steps}")
        if step >= settings.optim.max_steps:  # transformers would train one step more
            load_adapter(trainer, checkpoint, step, settings.optim.max_steps)
            return step
    view.state.steps_per_round = assembly.steps_per_round
    trl_compat.keep_dtypes_at_resume(trainer)
    gate = open_gate(assembly, run, view.say)
    longest = open_longest(assembly, run, view)
    ranges = declared_ranges(trainer.reward_funcs, trainer.reward_func_names)
    watch = open_watch(assembly, run, view)
    with Stop(view.say, view.state.step, assembly.steps_per_round) as stop:
        # Checks first: they come before the step's clock starts. The watch after the view: a verdict stands under its
        # step
        checks = [check for check in (longest, gate) if check]
        own = [Recorder(run, ranges=ranges), Phases(trainer), Shown(view), watch, NumberGuard(assembly, run), stop]
        Events(assembly, [*checks, *own])
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except ValueError as error:
            raise _blame(error, settings) from error
        except RuntimeError as error:
            told = diverged_sampling(error, view.state.step)
            if told is None:
                raise
            raise told from error
        finally:
            watch.record()
    done = int(trainer.state.global_step)
    if stop.requested:
        raise Interrupted(done)
    return done


def load_adapter(trainer: Any, checkpoint: Path | None, step: int, max_steps: int) -> None:
    """Put a finished run's adapter into the model, to measure and save; SettingsError for fewer steps than are done."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    if checkpoint is None or step > max_steps:
        raise SettingsError(f"--max_steps {max_steps}, and step {step} is done", f"at least {step}")
    set_peft_model_state_dict(trainer.model, load_file(checkpoint / "adapter_model.safetensors"))


def _blame(error: ValueError, settings: GrpoSettings) -> ValueError:
    """TRL checks some fields only in the first step: an error that quotes a `--grpo` value is about that field."""
    for name, value in settings.grpo.items():
        if isinstance(value, str) and value in str(error):
            return SettingsError(f"--grpo.{name} {value}: {error}", "a value that TRL knows", "see TRL's GRPOConfig")
    return error
