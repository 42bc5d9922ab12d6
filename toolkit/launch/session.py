"""One execution of a recipe: the engine it chose and why, its run folder, and its view."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from toolkit import backends, runs
from toolkit.backends import vllm_server
from toolkit.compat import environment
from toolkit.data import ARITHMETIC
from toolkit.display.console import console, say
from toolkit.display.live import View, open_view
from toolkit.display.panel import summary_table
from toolkit.display.state import RunState
from toolkit.errors import ModelError, SettingsError
from toolkit.machine import processes
from toolkit.machine.devices import Gpu, PeakWatch, ask_for_this_process
from toolkit.machine.hub import ask_hub, go_offline
from toolkit.machine.provenance import describe_environment, recorded
from toolkit.models import embedded
from toolkit.runs.folder import PARITY_FILE
from toolkit.settings import GrpoSettings
from toolkit.settings.batch import check_save_steps, solve
from toolkit.vram.measured import Measured, measure, torch_peaks_gib
from toolkit.vram.run_plan import RunPlan, plan_run
from toolkit.vram.views import run_report

if TYPE_CHECKING:
    from toolkit.backends.base import Backend
    from toolkit.evaluation.run import Measurement

S = TypeVar("S", bound=GrpoSettings)

ERROR_LOG = "error.log"


@dataclass
class Session:
    """What `main` works with beside its settings."""

    recipe: str
    settings: GrpoSettings
    backend: Backend
    reason: str
    """One line: which model, engine and preset, and why."""
    gpus: list[Gpu]
    argv: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    share_is_given: bool = False
    """A person set gpu_memory_utilization, by a flag or in a file of their own, so the plan leaves it."""
    run: runs.Run | None = None
    run_plan: RunPlan | None = None
    watch: PeakWatch | None = None
    introduction: list[str] = field(default_factory=list)
    """Lines that say what was chosen and planned, shown when the run opens."""

    @classmethod
    def start(
        cls,
        recipe: str,
        settings: GrpoSettings,
        gpus: list[Gpu],
        why_no_gpu: str,
        why_preset: str,
        argv: Sequence[str],
        share_is_given: bool = False,
    ) -> Session:
        """Choose the engine and check everything that needs no import of it.

        Raises:
            SettingsError: batch settings that make no whole groups.
            BackendError: see `backends.choose`, `backends.check_sharding` and `vllm_server.check`.
        """
        batch = solve(settings.rollout, processes.world_size())
        check_save_steps(batch, settings.record.save_steps, settings.grpo.get("num_iterations", 1))
        choice = backends.choose(settings.model, gpus, why_no_gpu)
        backends.check_sharding(settings.model, on_gpu=choice.backend.on_gpu)
        vllm_server.check(settings, gpus[0] if choice.backend.on_gpu else None)
        reasons = [f"{settings.model.model} on the {choice.backend.name} backend", why_preset]
        if choice.why not in why_preset:
            reasons.append(choice.why)
        if processes.world_size() > 1:
            reasons.append(f"{processes.world_size()} processes")
        session = cls(recipe, settings, choice.backend, "; ".join(reasons), gpus, argv, share_is_given=share_is_given)
        offline = _needs_no_network(settings)
        situation = _situation(settings, choice.backend, gpus, offline)
        session.environment, session.introduction = environment.set_before_imports(situation)
        if choice.backend.on_gpu:
            session.introduction += unused_cards(gpus)
        if not offline and ask_hub().reachable is False:
            go_offline()  # what is in the local cache still works, and what is not fails at once
        return session

    def plan_memory(self, settings: S) -> S:
        """Plan the run's memory, and return the settings with vLLM's share of the card chosen by the plan.

        On a CPU nothing is planned. A run that cannot be planned goes on, with a note.

        Raises:
            SettingsError: it does not fit; the message has the nearest settings that do. `--force` starts it anyway.
        """
        if not self.backend.on_gpu:
            return settings
        try:
            self.run_plan = plan_run(
                settings,
                self.gpus[0],
                framework="unsloth" if self.backend.name == "unsloth" else "trl",
                has_vllm=self.backend.rolls_out_with_vllm(settings) and settings.model.vllm_mode == "colocate",
                share_is_given=self.share_is_given,
            )
        except (ModelError, SettingsError) as error:
            self.introduction.append(f"memory is not planned: {error}")
            return settings
        self.introduction += run_report.before(self.run_plan)
        if processes.world_size() > 1:
            self.introduction.append(f"that is one card of {processes.world_size()}, with one process on each")
        if self.run_plan.flags != () and not settings.record.force:
            for line in (self.reason, *self.introduction):
                say(line)
            raise self.run_plan.misfit(resumed=settings.record.resume is not None)
        if self.run_plan.share is not None:
            model = replace(settings.model, gpu_memory_utilization=self.run_plan.share)
            self.settings = settings = replace(settings, model=model)
        return settings

    @contextmanager
    def open_run(self) -> Iterator[tuple[runs.Run, View]]:
        """Make or reopen the run folder, record settings and environment, and show the view while inside."""
        timeout_s = self.settings.grpo.get("ddp_timeout", processes.TIMEOUT_S)
        processes.join(on_gpu=self.backend.on_gpu, timeout_s=timeout_s)
        folder, resumed = processes.on_main(self._open_folder)
        self.run = run = self.run or runs.follow(self.recipe, folder, resumed=resumed)
        before = run.read("environment.json")
        now = describe_environment(self.gpus, self.environment, self.argv)
        earlier = [*before.pop("earlier", []), before] if before else []  # what the steps before a resume ran on
        run.write("environment.json", now | {"earlier": earlier})
        state = RunState(
            recipe=self.recipe,
            model=self.settings.model.model,
            backend=self.backend.name,
            run_folder=str(_short(run.folder)),
            n_steps=self.settings.optim.max_steps,
            memory_label="VRAM" if self.backend.on_gpu else "RAM",
        )
        for line in (self.reason, *self.introduction):
            say(line)
        if self.backend.on_gpu and not self.gpus[0].is_slice:
            self.watch = PeakWatch(ask_for_this_process(self.gpus[0]))
        try:
            shown = open_view(state, console, run.folder / "console.log") if run.writes else View(state, console)
            with self.watch or nullcontext(), shown as view:
                yield run, view
        finally:
            run.close()

    def _open_folder(self) -> tuple[Path, bool]:
        """Make or reopen the run folder; return where it is, and whether it was there."""
        record = self.settings.record
        if record.resume is not None:
            self.run = runs.reopen(record.resume)
            self.run.update("settings.json", requested=recorded(self.settings))
        else:
            self.run = runs.create(self.recipe, record.output_dir, recorded(self.settings))
        return self.run.folder, self.run.resumed

    def conclude(self, before: Measurement, after: Measurement, n_steps: int) -> None:
        """Write summary.json, before saving or uploading could fail."""
        from toolkit.evaluation.run import compare

        if self.run is None:
            raise RuntimeError("conclude() outside open_run()")
        if not self.run.writes:
            return
        summary = {
            "before": before.summary(),
            "after": after.summary(),
            "difference": compare(before, after),
            "wall_s": round(self.run.wall_s(), 1),
            "steps": n_steps,
            "backend": self.backend.name,
            "model": self.settings.model.model,
            "seed": self.settings.record.seed,
        }
        self.run.write("summary.json", summary | self._memory())

    def _memory(self) -> dict[str, Any]:
        """Planned and measured memory; of a run that was finished before, what it recorded then."""
        if self.run is None:
            raise RuntimeError("_memory() outside open_run()")
        earlier = self.run.read("summary.json")
        if not self.run.n_appended and "memory" in earlier:
            return {"plan": earlier["plan"], "memory": earlier["memory"]}
        measured = Measured()
        if self.watch is not None:
            vllm = self.run.read("settings.json")["effective"]["use_vllm"]
            process = self.watch.peak if self.run.n_appended else None
            measured = measure(self.run.read_metrics(), torch_peaks_gib(), process, vllm=vllm)
        return {"plan": self.run_plan.record() if self.run_plan else None, "memory": asdict(measured)}

    def finish(self, folders: Sequence[Path]) -> None:
        """Complete summary.json and print before and after with their intervals."""
        if self.run is None:
            raise RuntimeError("finish() outside open_run()")
        if not self.run.writes:
            return
        self.run.update("summary.json", saved=[str(folder.relative_to(self.run.folder)) for folder in folders])
        summary = self.run.read("summary.json")
        console.print(summary_table({**summary, "run_folder": str(_short(self.run.folder))}))
        if summary.get("plan") and self.backend.on_gpu:
            for line in run_report.after(summary["plan"], summary["memory"]):
                say(line)
            if summary["memory"]["peak_process_gib"] is not None:
                say(f"to plan by this run from now on: toolkit plan --calibrate {_short(self.run.folder)}")

    def how_to_resume(self) -> str:
        """The tail of a message that says how to go on with this run; empty when there is nothing to go on with."""
        if self.run is None or not (self.run.folder / "settings.json").exists():
            return ""
        command = [sys.argv[0], "--resume", str(_short(self.run.folder))]
        if processes.world_size() > 1:
            return f"; continue, by the same launcher, with: {shlex.join(command)}"
        return f"; continue with: {shlex.join(['python', *command])}"

    def abandon(self) -> None:
        """After an error in the set-up, remove the run folder if this session made it and it holds nothing to read."""
        if self.run is None or self.run.resumed or self.run.metrics.exists():
            return
        if any((self.run.folder / name).exists() for name in (ERROR_LOG, PARITY_FILE)):
            return
        self.run.remove()

    def keep_traceback(self) -> Path | None:
        """Write the current exception's traceback to the run folder."""
        if self.run is None or not self.run.folder.exists():
            return None
        path = self.run.folder / ERROR_LOG
        path.write_text(traceback.format_exc(), encoding="utf-8")
        return _short(path)


def unused_cards(gpus: Sequence[Gpu]) -> list[str]:
    """How to use all cards, where several are visible to the one process of a run."""
    n = len(gpus)
    if n < 2 or processes.world_size() > 1:
        return []
    for_all = f"accelerate launch --num_processes {n} {shlex.quote(sys.argv[0])}"
    return [f"one of {n} visible cards is used; for all, without Unsloth: {for_all}"]


def _situation(settings: GrpoSettings, backend: Backend, gpus: Sequence[Gpu], offline: bool) -> environment.Situation:
    """What of this run decides which environment variables matter."""
    return environment.Situation(
        on_gpu=backend.on_gpu,
        unsloth=backend.name == "unsloth",
        vllm=backend.rolls_out_with_vllm(settings) and settings.model.vllm_mode == "colocate",
        standby=settings.model.standby,
        card=gpus[0].visible_as if backend.on_gpu and processes.world_size() == 1 else None,
        offline=offline,
        pushes=settings.record.push_to_hub is not None,
    )


def _needs_no_network(settings: GrpoSettings) -> bool:
    local_data = settings.data.dataset == ARITHMETIC or os.path.exists(settings.data.dataset)
    local_model = settings.model.model == embedded.NAME or os.path.exists(settings.model.model)
    return local_data and local_model and settings.record.push_to_hub is None


def _short(path: Path) -> Path:
    """Relative to the working directory where it lies below it."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path
