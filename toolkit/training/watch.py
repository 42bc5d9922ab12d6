"""The health rules at a run's side: what they find goes to the view, to metrics.jsonl and to summary.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.control.health import Health, Verdict, held_out_row
from toolkit.control.history import Context
from toolkit.control.rules import OF_HELD_OUT
from toolkit.findings import worst
from toolkit.machine.devices import find_gpus, foreign_gib, host_gib
from toolkit.runs import Run
from toolkit.runs import metrics as keys
from toolkit.runs.names import SUMMARY
from toolkit.runs.record import HEALTH
from toolkit.training.events import Observer
from toolkit.training.grpo import Assembly

if TYPE_CHECKING:
    from toolkit.display.live import View

FOREIGN_EVERY = 10
"""Steps between two questions to the driver who else is on the card."""


class Watch(Observer):
    """Judges every step by the rules, with the rows of a resumed run before it, and says what has changed."""

    def __init__(
        self, health: Health, run: Run, view: View, ask_foreign: Callable[[], float | None] = lambda: None
    ) -> None:
        self._health, self._run, self._view, self._ask_foreign = health, run, view, ask_foreign
        self._changed: list[Verdict] = []
        for row in run.rows:
            health.feed(row)
        self._said = {id(verdict) for verdict in health.standing}
        """What the console has heard of, and so is to hear the end of."""
        self._show()

    def metrics(self, step: int) -> Mapping[str, Any]:
        held = self._ask_foreign() if step % FOREIGN_EVERY == 1 else None
        return {} if held is None else {keys.FOREIGN_GIB: held}

    def judge(self, step: int, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        self._changed = self._health.feed({keys.STEP: step, **metrics})
        return self._health.row()

    def step_done(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._show()
        for verdict in self._changed:
            if self._health.is_worth_saying(verdict) if verdict.stands else id(verdict) in self._said:
                self._said.add(id(verdict))  # the health keeps each, so that no other gets its id
                self._view.say(verdict.line())

    def record(self) -> None:
        """Write to summary.json what tripped so far."""
        if self._run.n_appended:
            self._run.update(SUMMARY, **{HEALTH: self._health.as_json(self._health.tripped())})

    def _show(self) -> None:
        self._view.state.findings = [verdict.finding for verdict in self._health.standing]


def with_held_out(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A summary.json whose health has, beside what tripped in training, what accuracy before and after says."""
    found, row = summary.get(HEALTH), held_out_row(summary)
    if found is None or not row:
        return dict(summary)
    health = Health(rules=OF_HELD_OUT)
    for earlier in rows:
        health.feed(earlier)
    health.feed({keys.STEP: health.history.step, **row})
    ids = {rule.id for rule in OF_HELD_OUT}
    verdicts = [one for one in found["verdicts"] if one["rule"] not in ids]
    verdicts += [verdict.as_json() for verdict in health.tripped()]
    not_judged = sorted({*found["not_judged"], *ids} - ids) + health.not_judged
    level = worst(one["level"] for one in verdicts)
    return {**summary, HEALTH: {"level": level, "verdicts": verdicts, "not_judged": not_judged}}


def open_watch(assembly: Assembly, run: Run, view: View) -> Watch:
    """The rules for this run, on its card or, without one, on the host's memory."""
    import torch

    settings = assembly.resolved.settings
    gpus = find_gpus()[0] if torch.cuda.is_available() else []
    gpu = gpus[min(torch.cuda.current_device(), len(gpus) - 1)] if gpus else None
    batch, n_iterations = assembly.batch, assembly.trainer.args.num_iterations
    n_completions = batch.per_device_train_batch_size * batch.gradient_accumulation_steps * batch.n_processes
    context = Context(
        memory_gib=gpu.total_gib if gpu else host_gib(),
        n_steps=settings.optim.max_steps,
        n_groups=n_completions / batch.num_generations / n_iterations,
    )
    return Watch(Health(context), run, view, (lambda: foreign_gib(gpu)) if gpu else (lambda: None))
