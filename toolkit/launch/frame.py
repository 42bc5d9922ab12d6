"""From a command line to a recipe's `main`, and from an error to one line: the frame around every recipe."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from toolkit.compat.accelerate import check_launch, start_all_on_a_cpu
from toolkit.data.examples import read_files
from toolkit.display.console import console, fail
from toolkit.doctor import best_first
from toolkit.errors import (
    EXIT_BAD_INPUT,
    EXIT_BUG,
    EXIT_INTERRUPTED,
    BackendError,
    ToolkitError,
    is_out_of_memory,
)
from toolkit.launch import again, ending
from toolkit.launch.beginning import start
from toolkit.launch.presets import choose_presets, presets_of, set_in_files, settings_to_resume
from toolkit.launch.session import Session
from toolkit.machine import processes
from toolkit.machine.devices import Gpu, find_gpus
from toolkit.runs.reader import given_names as given_before
from toolkit.settings import GrpoSettings, check
from toolkit.settings.parse import given_names, parse
from toolkit.settings.resolved import Resolved
from toolkit.training.stop import SIGNALS

S = TypeVar("S", bound=GrpoSettings)
T = TypeVar("T")

OF_A_LOST_PROCESS = re.compile("closed by peer|reset by peer|NCCL|[Tt]imed out")


def run_recipe(main: Callable[[S, Session[S]], None], cls: type[S], recipe_file: str) -> None:
    """Parse `sys.argv` into `cls`, call `main(settings, session)`, and exit with a code that says how it went.

    0 done, 2 bad input (one line on stderr), 130 interrupted, 1 a defect (traceback in the run folder).
    `--debug` shows the traceback of any error. With several processes one prints, and one tells the error of the run.
    """
    argv, environ = sys.argv[1:], dict(os.environ)
    session: Session[S] | None = None
    for number in SIGNALS:  # a scheduler or a lost connection ends the run as Ctrl-C does, with all cleaned up
        signal.signal(number, _interrupt)
    console.quiet = not processes.is_main()
    try:
        session = prepare(cls, argv, Path(recipe_file))
        main(session.resolved.settings, session)
        processes.leave()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(_end(again.without_standby(error, session, environ), session, argv))


def run_script(main: Callable[[T], None], cls: type[T]) -> None:
    """Parse `sys.argv` into `cls` and call `main(settings)`: for a script that trains nothing; exit codes as above."""
    argv = sys.argv[1:]
    try:
        main(parse(cls, argv))
    except ToolkitError as error:
        _explain(error, argv)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        fail("interrupted")
        sys.exit(EXIT_INTERRUPTED)


def _end(error: BaseException, session: Session[Any] | None, argv: Sequence[str]) -> int:
    """Tell the error, unless it is only what another process's error led to, and return the exit code."""
    if processes.world_size() > 1:
        for number in SIGNALS:  # the launcher ends all when one ends, and an error that is being told is to be told
            signal.signal(number, signal.SIG_IGN)
    if isinstance(error, KeyboardInterrupt) and not processes.is_main():
        return EXIT_INTERRUPTED  # the first process was interrupted, too
    with processes.word() as is_ours:
        if session is not None and is_out_of_memory(error):  # whatever it is wrapped in, and the run folder stays
            error = ending.out_of_memory(session, error)
        elif session is not None and (not is_ours or isinstance(error, ToolkitError)):
            ending.abandon(session)
        if is_ours:
            _tell(error, session, argv)
    if isinstance(error, ToolkitError):
        return EXIT_BAD_INPUT
    return EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else EXIT_BUG


def _tell(error: BaseException, session: Session[Any] | None, argv: Sequence[str]) -> None:
    if isinstance(error, ToolkitError):
        _explain(error, argv)
    elif isinstance(error, KeyboardInterrupt):
        fail((str(error) or "interrupted") + ending.how_to_resume(session))
    else:
        where = ending.keep_traceback(session)
        hint = f"; the traceback is in {where}" if where else "; --debug shows the traceback"
        if session and processes.world_size() > 1 and OF_A_LOST_PROCESS.search(str(error)):
            hint += f"; another process may have ended without a word{ending.how_to_resume(session)}"
        _explain(error, argv, hint)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def prepare(cls: type[S], argv: Sequence[str], recipe_file: Path) -> Session[S]:
    """Parse the arguments over the preset that fits this machine, or over the settings of a run to resume.

    Raises:
        SettingsError, DataError, BackendError: see `parse`, `examples.read_files`, `check` and `backends.choose`.
    """
    first = parse(cls, [token for token in argv if token not in ("-h", "--help")])
    given = given_names(argv)
    visible, why_no_gpu = find_gpus()
    if not visible:
        start_all_on_a_cpu()
    check_launch()
    gpus = own_card_first(visible, processes.local_rank()) if processes.world_size() > 1 else best_first(visible)
    configs = presets_of(recipe_file)
    resume = first.record.resume
    if resume is not None:
        presets, why = [settings_to_resume(resume, given, first.rewards.reward)], f"resuming {resume}"
        given |= given_before(resume)
    else:
        # One preset for all processes: that of the smallest card
        cards = gpus if processes.world_size() == 1 else sorted(visible, key=lambda gpu: gpu.total_gib)
        presets, why = choose_presets(first, given, cards, why_no_gpu, configs)
        given |= set_in_files(presets, configs)
    settings = parse(cls, argv, presets)
    if resume is None:  # a run that continues has recorded what the files said
        settings = replace(settings, data=read_files(settings.data))
    check(settings)
    resolved = Resolved.of(settings, frozenset(given), why, processes.world_size())
    return start(recipe_file.stem, resolved, gpus, why_no_gpu, argv)


def own_card_first(gpus: list[Gpu], local_rank: int) -> list[Gpu]:
    """The visible cards, with the one of this process of its machine at the front.

    Raises:
        BackendError: there are more processes than cards.
    """
    if not gpus or local_rank == 0:
        return gpus
    if local_rank >= len(gpus):
        found = f"process {local_rank + 1} of this machine has no card"
        raise BackendError(found, f"at most as many processes as visible cards, {len(gpus)}", "start fewer")
    return [gpus[local_rank], *gpus[:local_rank], *gpus[local_rank + 1 :]]


def _explain(error: BaseException, argv: Sequence[str], hint: str = "") -> None:
    if "--debug" in argv:
        traceback.print_exception(error)
    text = str(error) or type(error).__name__
    fail(text if isinstance(error, ToolkitError) else f"{type(error).__name__}: {' '.join(text.split())[:300]}{hint}")
