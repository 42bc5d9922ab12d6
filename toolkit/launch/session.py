"""One execution of a recipe: the engine it chose and why, its run folder, its view, and what it does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from toolkit import runs
from toolkit.compat import attention
from toolkit.display.console import console, say
from toolkit.display.live import View, open_view
from toolkit.display.panel import measured_line, summary_table
from toolkit.display.preflight import preflight_lines
from toolkit.display.state import RunState
from toolkit.errors import SettingsError
from toolkit.files import short
from toolkit.launch import ending, memory
from toolkit.machine import processes, smaller_card
from toolkit.machine.devices import Gpu, PeakWatch, ask_for_this_process
from toolkit.machine.peaks import peaks_since_reset
from toolkit.machine.provenance import describe_environment, recorded
from toolkit.runs.names import (
    CONSOLE_LOG,
    ENVIRONMENT,
    LOADING,
    PREFLIGHT,
    REWARD_CHECK,
    SETTINGS,
    SUMMARY,
)
from toolkit.settings import GrpoSettings
from toolkit.settings.resolved import Resolved
from toolkit.training import rewards as run_rewards
from toolkit.training.watch import with_held_out

if TYPE_CHECKING:
    from toolkit.backends.base import Backend, Policy
    from toolkit.data.schema import Problems, Row
    from toolkit.evaluation.run import Exam, Measurement
    from toolkit.training import Assembly, Reward
    from toolkit.vram.run_plan import RunPlan

S = TypeVar("S", bound=GrpoSettings)


@dataclass
class Session(Generic[S]):
    """What `main` works with beside its settings."""

    recipe: str
    resolved: Resolved[S]
    backend: Backend
    reason: str
    """One line: which model, engine and preset, and why."""
    gpus: list[Gpu]
    argv: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    run: runs.Run | None = None
    view: View | None = None
    run_plan: RunPlan | None = None
    watch: PeakWatch | None = None
    introduction: list[str] = field(default_factory=list)
    """Lines that say what was chosen and planned, shown when the run opens."""
    assembly: Assembly | None = None
    """The trainer, once something needed it."""
    paid: list[Reward] = field(default_factory=list)
    """What the run pays for; see `rewards`."""
    is_concluded: bool = False
    """Whether it was measured after training, by this process."""
    is_gold: Callable[[str], bool] = bool
    """What a gold answer must be; see `gold`."""

    def plan_memory(self) -> None:
        """Plan the run's memory, and let the plan choose vLLM's share of the card.

        On a CPU nothing is planned. A run that cannot be planned goes on, with a note.

        Raises:
            SettingsError: it does not fit; the message has the nearest settings that do. `--force` starts it anyway.
        """
        if not self.backend.on_gpu:
            return
        self.run_plan, lines = memory.plan(self.resolved, self.backend, self.gpus[0])
        self.introduction += lines
        if self.run_plan is None:
            return
        if self.run_plan.flags != () and not self.resolved.settings.record.force:
            for line in (self.reason, *self.introduction):
                say(line)
            raise self.run_plan.misfit(resumed=self.resolved.settings.record.resume is not None)
        if self.run_plan.share is not None:
            self.resolved = self.resolved.with_model(gpu_memory_utilization=self.run_plan.share)

    def locate(self) -> str:
        """Return what the model is loaded by, and say where its weights come from and what else is fetched.

        Raises:
            ModelError, HubError: see `models.locate`.
            RunFolderError: the disk has no room for the base that a merge fetches.
        """
        from toolkit import export, models

        asked = self.resolved.settings.model
        weights = self.backend.weights_of(asked)
        source = models.locate(asked.model, weights)
        if weights != asked.model:
            self.introduction.append(f"weights: {weights}, {self.backend.name}'s own copy of {asked.model}")
        base = self.backend.weights_of(replace(asked, load_in_4bit=False))
        if self.resolved.settings.record.save == export.MERGED and base != weights:
            self.introduction.append(f"--save {export.MERGED} fetches {base} at the end")
            export.check_room_for_base(base, asked.model)
        return source

    def rewards(self, own: Sequence[Reward]) -> list[Reward]:
        """What the run pays for: what `--reward` names, or else the recipe's own; each under a name of its own.

        The code of a file or module that it names is run here. `load` checks them before the model is loaded.

        Raises:
            RewardError: see `training.rewards.asked_for`.
        """
        asked = self.resolved.settings.rewards.reward
        if asked is None:
            self.paid = run_rewards.distinct(own)
        else:
            if run_rewards.is_own_code(asked):
                self.backend.import_first()
            self.paid = run_rewards.asked_for(asked)
            measured = f"measured by {self.paid[0].name}"
            self.introduction.append(f"rewards: {run_rewards.in_words(self.paid)}; {measured}")
        return self.paid

    @property
    def needs(self) -> frozenset[str]:
        """Dataset columns that the rewards of this run cannot do without."""
        return frozenset[str]().union(*(reward.columns for reward in self.paid))

    def gold(self, own: Callable[[str], bool]) -> Callable[[str], bool]:
        """What a gold answer must be: the recipe's rule for its own rewards, and for those of `--reward` anything."""
        self.is_gold = bool if self.resolved.settings.rewards.reward else own
        return self.is_gold

    @contextmanager
    def open_run(self) -> Iterator[runs.Run]:
        """Make or reopen the run folder, record settings and environment, and show the view while inside."""
        settings = self.resolved.settings
        processes.join(on_gpu=self.backend.on_gpu, timeout_s=settings.grpo.get("ddp_timeout", processes.TIMEOUT_S))
        folder, resumed = processes.on_main(self._open_folder)
        self.run = run = self.run or runs.follow(self.recipe, folder, resumed=resumed)
        of_rewards = [reward.record() for reward in self.paid]
        self.introduction += run_rewards.changes(run.document(SETTINGS).get("rewards", []), of_rewards)
        run.update(SETTINGS, requested=recorded(settings), given=sorted(self.resolved.given), rewards=of_rewards)
        run.update(SETTINGS, gold=self.is_gold.__name__)  # for whoever loads the same rows again
        before = run.document(ENVIRONMENT)
        earlier = [*before.get("earlier", []), {k: v for k, v in before.items() if k != "earlier"}] if before else []
        now = describe_environment(self.gpus, self.environment, self.argv)
        run.write(ENVIRONMENT, now | {"earlier": earlier})  # earlier: what the steps before a resume ran on
        state = RunState(
            recipe=self.recipe,
            model=settings.model.model,
            backend=self.backend.name,
            run_folder=str(short(run.folder)),
            n_steps=settings.optim.max_steps,
            memory_label="VRAM" if self.backend.on_gpu else "RAM",
        )
        for line in (self.reason, *self.introduction):
            say(line)
        if self.backend.on_gpu and not self.gpus[0].is_slice:
            self.watch = PeakWatch(ask_for_this_process(self.gpus[0]))
        try:
            shown = open_view(state, console, run.folder / CONSOLE_LOG) if run.writes else View(state, console)
            with self.watch or nullcontext(), shown as self.view:
                yield run
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            ending.early(self, error)
            raise
        finally:
            run.close()

    def _open_folder(self) -> tuple[Path, bool]:
        """Make or reopen the run folder; return where it is, and whether it was there."""
        record = self.resolved.settings.record
        if record.resume is not None:
            self.run = runs.reopen(record.resume)
        else:
            self.run = runs.create(self.recipe, record.output_dir, recorded(self.resolved.settings))
        return self.run.folder, self.run.resumed

    def _opened(self) -> tuple[runs.Run, View]:
        if self.run is None or self.view is None:
            raise RuntimeError("this is to be done inside open_run()")
        return self.run, self.view

    def load(self, source: str, problems: Problems) -> tuple[Policy, Problems]:
        """Check the rewards, load the model and its adapter, and keep the problems with prompts within the budget.

        Raises:
            RewardError: a reward fails its check on the training rows; `--force` only says so.
            ModelError, BackendError: see the backends' `load` and `prompts.for_template`.
            DataError: see `data.within_budget`.
        """
        from toolkit.data import prompts, within_budget

        run, view = self._opened()
        settings = self.resolved.settings
        if self.paid:
            self.backend.import_first()
            checked = run_rewards.check_rewards(self.paid, problems.train, force=settings.record.force)
            run.write(REWARD_CHECK, {verdict.reward: verdict.as_json() for verdict in checked})
        view.phase(LOADING)
        self.backend.told = view.progress
        if self.backend.on_gpu and self.gpus[0].withheld_gib:
            self.backend.import_first()
            smaller_card.apply(self.gpus[0])
        policy = self.backend.load(settings.model, source, settings.lengths, settings.record.seed)
        problems = prompts.for_template(problems, policy.tokenizer, policy.source)
        problems = within_budget(problems, policy.tokenizer, settings.data.max_prompt_length)
        run.update(ENVIRONMENT, weights=policy.weights(), load_peak_gib=peaks_since_reset())
        for line in (policy.describe(), *policy.notes, *problems.report):
            view.say(line)
        return policy, problems

    def exam(self, rows: Sequence[Row], judge: Callable[..., Any]) -> Exam:
        """How the run is measured: on these rows, by the first reward of `--reward`, or else by the recipe's judge."""
        from toolkit.evaluation import Exam, by_reward

        settings = self.resolved.settings
        reward = self.paid[0].function if settings.rewards.reward else judge
        longest, pass_score = settings.rollout.max_completion_length, settings.rewards.pass_score
        run, _ = self._opened()
        run.update(SETTINGS, judge=by_reward.name_of(reward))
        return Exam(rows, reward, longest, pass_score, self.paid)

    def preflight(self, policy: Policy, rows: Sequence[Row], rewards: Sequence[Reward]) -> None:
        """Look before the leap: sample a few completions as training will, show two, and say what they mean.

        Once a run; the figures go to preflight.json. What the run draws afterwards is what it would draw without.

        Raises:
            SettingsError: nearly every completion is truncated; `--allow_truncation` goes on.
        """
        from toolkit.evaluation.preflight import look

        run, view = self._opened()
        record = self.resolved.settings.record
        if not record.preflight or run.rows or "figures" in run.document(PREFLIGHT):
            return
        if processes.sharding().splits_weights:
            view.say("preflight: not done, since no process holds the whole model before training begins")
            return
        assembly = self._built(policy, rows, rewards)
        view.phase("sampling before the first step")
        allow = record.allow_truncation
        found = look(assembly, rows, rewards, allow_truncation=allow, told=view.progress)
        run.update(PREFLIGHT, **found.record())
        for line in preflight_lines(found.findings, found.prompt.text, found.prompt.ids, found.shown()):
            view.say(line)
        for finding in found.findings:
            if finding.level == "red":
                raise SettingsError(f"before the first step: {finding.found}", finding.wanted, finding.next_step)

    def measure(self, when: str, policy: Policy, exam: Exam) -> Measurement:
        """Take the exam, record it under `when`, `before` or `after`, and say it; see `evaluation.measure`."""
        from toolkit.evaluation import measure

        run, view = self._opened()
        view.phase(f"measuring {when}")
        measured = measure(when, run, self.backend, policy, exam, view.progress)
        view.say(measured_line(when, measured.summary(), view.width))
        return measured

    def train(self, policy: Policy, rows: Sequence[Row], rewards: Sequence[Reward]) -> int:
        """Build the trainer and train; return the steps done. See `training.build_trainer` and `training.train`."""
        from toolkit.training import train

        run, view = self._opened()
        assembly = self._built(policy, rows, rewards)
        view.phase("training")
        return train(assembly, run, view)

    def _built(self, policy: Policy, rows: Sequence[Row], rewards: Sequence[Reward]) -> Assembly:
        """The trainer, built the first time that it is wanted."""
        from toolkit.training import build_trainer

        run, view = self._opened()
        if self.assembly is None:
            view.phase("building the trainer")
            self.assembly = build_trainer(policy, rows, rewards, self.resolved, run, self.backend)
            taken = policy.attention(self.assembly.trainer)
            run.update(ENVIRONMENT, attention=taken)
            view.say(attention.sentence(**taken))
        return self.assembly

    def save(self, policy: Policy) -> list[Path]:
        """Write what was trained; return the folders. See `export.save`."""
        from toolkit.export import save

        run, view = self._opened()
        view.phase("saving")
        return save(policy, self.backend, self.resolved.settings.record, run)

    def conclude(self, before: Measurement, after: Measurement, n_steps: int) -> None:
        """Write summary.json, before saving or uploading could fail."""
        from toolkit.evaluation.run import agree, compare

        run, _ = self._opened()
        before, after = agree(before, after)
        measured = {"before": before.summary(), "after": after.summary(), "difference": compare(before, after)}
        summary = measured | ending.common(self, run, n_steps)
        run.write(SUMMARY, with_held_out(summary, run.rows))
        self.is_concluded = True

    def finish(self, folders: Sequence[Path]) -> None:
        """Complete summary.json, print before and after with their intervals, and write the run's page."""
        run, view = self._opened()
        if not run.writes:
            return
        view.state.enter("done")
        saved = [str(folder.relative_to(run.folder)) for folder in folders]
        run.update(SUMMARY, status="finished", phases_s=ending.phases_s(self), saved=saved)
        summary = run.document(SUMMARY)
        console.print(summary_table({**summary, "run_folder": str(short(run.folder))}))
        if summary["plan"] and self.backend.on_gpu:
            for line in memory.compared(summary, short(run.folder)):
                say(line)
        ending.tell_health(run)
        ending.last_words(self, run, "finished")
