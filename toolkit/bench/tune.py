"""The fastest settings of a sweep's lists: short measured runs decide, the planner leaves out what it need not measure.

The first value of every list is where the search starts. Its trials are cells of the sweep like any other, so a search
that was stopped goes on where it was. A setting that is faster because it earns less is not taken.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.bench import recipe, sweep
from toolkit.bench.machine import describe, in_words
from toolkit.bench.predict import predicted
from toolkit.bench.search import Point, has_optuna, is_better, proposals
from toolkit.bench.spec import ENGINES, Cell, Spec, expand
from toolkit.bench.store import Record
from toolkit.bench.trials import Search, Trial, fair, figures, ratio
from toolkit.errors import SettingsError
from toolkit.machine.devices import find_gpus
from toolkit.settings.batch import Batch

Say = Callable[[str], None]
RunCell = Callable[[Cell], Record]
N_EVAL = 8
"""Held-out problems of a probe, which nothing is read from."""
MUCH_SLOWER = 2.0
"""A point whose step the planner expects to take this many times as long as the best one's is not measured."""


def run(spec: Spec, folder: Path, n_trials: int, probe_steps: int, say: Say, *, confirm: bool = False) -> Search:
    """Search with at most `n_trials` runs of `probe_steps` steps; `confirm`: then start and best at full length.

    Raises:
        SettingsError: nothing to choose from, engines among it, too few steps, or no trial that finished.
        RunFolderError: another sweep is writing this folder.
    """
    axes = axes_of(spec)
    _check(spec, axes, probe_steps)
    if busy := in_words(describe(find_gpus()[0])):
        say(f"{busy}: what is measured now may be far from true")
    with sweep.runner(spec, folder) as run_cell:
        search = _Searching(spec, axes, run_cell, probe_steps, n_trials, say)
        trials, best, point = search.go()
        cell = cell_at(spec, axes, point)
        if cell is None or not best.completions_per_s:
            raise SettingsError("no trial finished", "a start that runs", f"see {folder}")
        pairs = search.confirm(point) if confirm else []
    return Search(trials, best, cell, pairs, {"spec": spec.name, "probe_steps": probe_steps, **search.about})


Axis = Sequence[Mapping[str, Any]]
"""What one of the lists offers: each a value of one setting, or of several that change together."""


def axes_of(spec: Spec) -> list[Axis]:
    """The lists of the grid, and the pairs as one more."""
    return [*([{name: value} for value in values] for name, values in spec.grid.items()), *filter(None, [spec.pairs])]


def cell_at(spec: Spec, axes: Sequence[Axis], point: Point) -> Cell | None:
    """The cell of a point; None where the spec excludes it."""
    chosen = [axis[value] for axis, value in zip(axes, point, strict=True)]
    n_lists = len(spec.grid)
    grid = {name: [value] for settings in chosen[:n_lists] for name, value in settings.items()}
    cells = expand(replace(spec, grid=grid, pairs=chosen[n_lists:], repeats=1))
    return cells[0] if cells else None


def _check(spec: Spec, axes: Sequence[Axis], probe_steps: int) -> None:
    if max(map(len, axes), default=1) < 2:
        raise SettingsError(f"{spec.path} has nothing to choose from", "a list of at least two values in its grid")
    if any(cell.engine != ENGINES[0] for cell in expand(spec)):
        raise SettingsError(f"{spec.path} has another engine", "settings of the recipe alone, which a preset can say")
    if probe_steps <= spec.warmup_steps:
        found = f"--probe_steps {probe_steps} with {spec.warmup_steps} of the warm-up"
        raise SettingsError(found, f"at least {spec.warmup_steps + 1}")


@dataclass
class _Searching:
    """A search while it runs."""

    spec: Spec
    axes: Sequence[Axis]
    run_cell: RunCell
    probe_steps: int
    n_trials: int
    say: Say
    about: dict[str, Any] = field(default_factory=dict)

    def go(self) -> tuple[list[Trial], Trial, Point]:
        """Every trial, the best one and its point."""
        asked = proposals([len(axis) for axis in self.axes])
        point = best_at = next(asked)
        trials, best = [], None
        while True:
            trial = self._try(
                point, trials[0] if trials else None, best_at if best and best.completions_per_s else None
            )
            trials.append(trial)
            n_done = sum(trial.is_measured for trial in trials)
            if best is None or is_better(trial.completions_per_s, best.completions_per_s):
                best, best_at = trial, point
            self.say(self._line(trial, trials[0], n_done))
            if n_done >= self.n_trials:
                return trials, best, best_at
            try:
                point = asked.send(trial.completions_per_s)
            except StopIteration:
                if not has_optuna():
                    self.say("no single change is faster; with optuna (pip install optuna) combinations are tried, too")
                return trials, best, best_at

    def confirm(self, point: Point) -> list[tuple[Trial, Trial]]:
        """The first point and this one at full length, in turn, as often as the spec repeats."""
        first = (0,) * len(self.axes)
        pairs = []
        for repeat in range(self.spec.repeats):
            start, best = (self._measured(at, repeat=repeat, is_probe=False) for at in (first, point))
            self.say(f"full length, start: {figures(start)}")
            self.say(f"full length, best:  {figures(best)}")
            pairs.append((start, fair(best, start)))
        return pairs

    def _try(self, point: Point, start: Trial | None, best_at: Point | None) -> Trial:
        changed = self._changed(point)
        cell = cell_at(self.spec, self.axes, point)
        if cell is None:
            return Trial(changed, "not measured", "excluded by the spec")
        if why := self._not_worth_it(cell, best_at):
            return Trial(changed, "not measured", why)
        trial = self._measured(point)
        return trial if start is None else fair(trial, start)

    def _not_worth_it(self, cell: Cell, best_at: Point | None) -> str:
        """Why the planner would not measure a cell; empty where it would, or knows nothing of it."""
        plan = self._plan(cell)
        if plan is None:
            return ""
        if not plan["fits"]:
            return f"by the plan {plan['peak_gib']:.1f} GiB, and {plan['card']} has {plan['usable_gib']:.1f}"
        best = cell_at(self.spec, self.axes, best_at) if best_at is not None else None
        best_plan = self._plan(best) if best is not None else None
        times = [self._planned_s(found, of) for found, of in ((plan, cell), (best_plan, best))]
        if times[0] and times[1] and times[0] > MUCH_SLOWER * times[1]:
            return f"by the plan {times[0] / times[1]:.1f} times as slow as the best so far"
        return ""

    def _plan(self, cell: Cell) -> dict[str, Any] | None:
        gpus, _ = find_gpus()
        return predicted(self.spec, cell, gpus[0] if gpus else None)

    def _planned_s(self, plan: Mapping[str, Any] | None, cell: Cell | None) -> float | None:
        """Planned seconds a completion."""
        if not plan or cell is None or not plan["step_s"]:
            return None
        return plan["step_s"] / completions_a_step(self.spec, cell)

    def _measured(self, point: Point, *, repeat: int = 0, is_probe: bool = True) -> Trial:
        cell = cell_at(self.spec, self.axes, point)
        if cell is None:
            raise ValueError(f"no cell at {point}")
        short = {"max_steps": self.probe_steps, "n_eval": N_EVAL} if is_probe else {}
        record = self.run_cell(replace(cell, settings={**cell.settings, **short}, repeat=repeat))
        self.about = record["about"]
        trial = Trial(self._changed(point), record["status"], record["why"], cell=record["id"])
        if record["status"] != "ok":
            return trial
        found = record["measured"]
        speed = completions_a_step(self.spec, cell) / self._step_s(cell, found["step_s"])
        return replace(
            trial,
            completions_per_s=float(f"{speed:.4g}"),
            reward=found["reward"],
            peak_gib=found["peak_gib"]["process"],
            pass_at_1=None if is_probe else found.get("pass_at_1"),
        )

    def _step_s(self, cell: Cell, seconds: Sequence[float]) -> float:
        """What a step takes: the median, which forgets what else the machine did; or the mean, where not every step
        has a rollout."""
        batch = batch_of(self.spec, cell)
        every = batch.steps_per_generation <= batch.gradient_accumulation_steps
        return statistics.median(seconds) if every else statistics.fmean(seconds)

    def _changed(self, point: Point) -> dict[str, Any]:
        return {k: v for axis, value in zip(self.axes, point, strict=True) for k, v in axis[value].items()}

    def _line(self, trial: Trial, start: Trial, n_done: int) -> str:
        number_of = f"[{n_done}/{self.n_trials}] " if trial.is_measured else ""
        if not trial.completions_per_s:
            return f"{number_of}{trial.told(start)}: {trial.status.replace('_', ' ')}: {trial.why}"
        times = ratio(start, trial)
        beside = f", {times:.2f} times the start" if times and trial is not start else ""
        return f"{number_of}{trial.told(start)}: {figures(trial)}{beside}"


def batch_of(spec: Spec, cell: Cell) -> Batch:
    """The batch that a cell has on this machine."""
    return Batch.of(recipe.settings_here(spec.recipe_path, spec.command(cell)).rollout)


def completions_a_step(spec: Spec, cell: Cell) -> int:
    """Completions that one optimizer step learns from."""
    batch = batch_of(spec, cell)
    return batch.per_device_train_batch_size * batch.gradient_accumulation_steps
