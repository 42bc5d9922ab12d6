"""How a run ends, whichever way: its summary, its page, and the last lines that name what to do next."""

from __future__ import annotations

import shlex
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.display.console import say
from toolkit.errors import first_line
from toolkit.files import short
from toolkit.launch import memory
from toolkit.machine import processes
from toolkit.runs import Run, metrics
from toolkit.runs.names import BEFORE, BROKEN_BATCH, ERROR_LOG, MEASUREMENTS, PARITY, REPORT, SETTINGS, SUMMARY
from toolkit.runs.next_steps import next_steps
from toolkit.runs.record import HEALTH, Status, read_record
from toolkit.training import rewards as run_rewards

if TYPE_CHECKING:
    from toolkit.launch.session import Session

OF_ONE_PROBLEM = ("verdicts", "scores")


def common(session: Session[Any], run: Run, n_steps: int) -> dict[str, Any]:
    """What summary.json says of any run, whether it came to its end or not."""
    settings, earlier = session.resolved.settings, run.document(SUMMARY)
    if not run.n_appended and "memory" in earlier:  # a run whose steps were done before: what it recorded then
        of_memory = {"plan": earlier.get("plan"), "memory": earlier["memory"]}
    else:
        planned = session.run_plan.record() if session.run_plan else None
        measured = memory.measured(run, session.watch) if "effective" in run.document(SETTINGS) else memory.Measured()
        of_memory = {"plan": planned, "memory": asdict(measured)}
    summary = {
        "wall_s": round(run.wall_s(), 1),
        "steps": n_steps,
        "backend": session.backend.name,
        "model": settings.model.model,
        "seed": settings.record.seed,
    }
    if HEALTH in earlier:  # what the rules found while it trained
        summary[HEALTH] = earlier[HEALTH]
    if settings.rewards.reward:
        summary |= {"rewards": run_rewards.in_words(session.paid), "measured_by": session.paid[0].name}
    return summary | of_memory


def phases_s(session: Session[Any]) -> dict[str, float]:
    """Seconds of each phase that has ended."""
    return {name: round(seconds, 3) for name, seconds in session.view.state.phases_s.items()} if session.view else {}


def early(session: Session[Any], error: BaseException) -> None:
    """Summarise a run that ends before its end, and write its page. What earlier parts of it have left stays."""
    run = session.run
    if run is None or not run.writes or (not run.n_appended and run.document(SUMMARY)):
        return
    status: Status = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
    told = {"status": status, "error": "" if status == "stopped" and not str(error) else first_line(error)}
    if session.is_concluded:  # measured after training, and it failed to save
        run.update(SUMMARY, **told)
    else:
        before = run.document(MEASUREMENTS).get(BEFORE)
        measured = {BEFORE: {k: v for k, v in before.items() if k not in OF_ONE_PROBLEM}} if before else {}
        n_steps = int(run.rows[-1][metrics.STEP]) if run.rows else 0
        run.write(SUMMARY, told | measured | common(session, run, n_steps) | {"phases_s": phases_s(session)})
    if run.n_appended and (status == "stopped" or processes.world_size() == 1):  # else another process tells the error
        tell_health(run)
        last_words(session, run, status)


def tell_health(run: Run) -> None:
    """Name the rules that tripped, if any, and where more is said of them."""
    tripped = run.document(SUMMARY).get(HEALTH, {}).get("verdicts", [])
    if tripped:
        names = ", ".join(dict.fromkeys(f"{one['rule']} {one['name']} ({one['level']})" for one in tripped))
        say(f"health: {names}; what they mean: toolkit runs diagnose {short(run.folder)}")


def last_words(session: Session[Any], run: Run, status: Status) -> None:
    """Write the page unless `--report false`, and say where it is and what there is to do next."""
    from toolkit.cli.dispatch import VERBS
    from toolkit.report import write_report

    try:
        record = read_record(short(run.folder))
        record.status = status  # its own lock would say that it is running
        if session.resolved.settings.record.report:
            write_report(record, next_steps(record, VERBS))
    except Exception as error:  # a page is not worth a run that ends otherwise than it would have
        say(f"{REPORT} could not be written ({first_line(error)}); later: toolkit runs report {short(run.folder)}")
        return
    for what, command in next_steps(record, VERBS):
        say(f"{what + ':':<10}{command}")


def how_to_resume(session: Session[Any] | None) -> str:
    """The tail of a message that says how to go on with this run; empty when there is nothing to go on with."""
    run = session.run if session else None
    if run is None or not (run.folder / SETTINGS).exists():
        return ""
    command = [sys.argv[0], "--resume", str(short(run.folder))]
    if processes.world_size() > 1:
        return f"; continue, by the same launcher, with: {shlex.join(command)}"
    return f"; continue with: {shlex.join(['python', *command])}"


def out_of_memory(session: Session[Any], error: BaseException) -> memory.OutOfMemory:
    """The same error as a person can use it: what was planned, what is free, what needs less."""
    phase, gpu = session.view.state.phase if session.view else "starting", session.gpus[0] if session.gpus else None
    told = memory.out_of_memory(error, phase, session.run_plan, gpu, session.resolved)
    told.__cause__ = error
    return told


def abandon(session: Session[Any]) -> None:
    """After an error in the set-up, remove the run folder if this session made it and it holds nothing to read."""
    run = session.run
    if run is None or run.resumed or run.n_appended:
        return
    if not any((run.folder / name).exists() for name in (ERROR_LOG, PARITY, BROKEN_BATCH)):
        run.remove()


def keep_traceback(session: Session[Any] | None) -> Path | None:
    """Write the current exception's traceback to the run folder."""
    run = session.run if session else None
    if run is None or not run.folder.exists():
        return None
    path = run.folder / ERROR_LOG
    path.write_text(traceback.format_exc(), encoding="utf-8")
    return short(path)
