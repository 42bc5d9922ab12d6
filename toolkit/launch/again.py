"""A run whose standby fails before its first step begins again without it, once.

Not in the same process: Unsloth and vLLM have patched each other, and vLLM's allocator serves one engine a process
(`compat.standby`). The process is replaced, as by the shell's `exec`: same terminal, same id, and the card's memory is
free, since the driver's files close with it. The memory is planned anew, because vLLM then takes another share.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from toolkit.compat import standby
from toolkit.display.console import say
from toolkit.launch import ending
from toolkit.launch.session import Session


def without_standby(error: BaseException, session: Session[Any] | None, environ: Mapping[str, str]) -> BaseException:
    """Begin the command again with `--standby false` where standby failed and no step is lost by it.

    Does not return then; else returns the error to tell, which names the flag. `environ` is the environment as the
    process found it, before a run's variables were set.
    """
    failure = standby.failure_in(error) if isinstance(error, Exception) else None
    if failure is None or session is None or not session.resolved.settings.model.standby:
        return error
    if session.run is not None and session.run.n_appended:
        failure.next_step = f"{ending.how_to_resume(session).removeprefix('; ')} {standby.WITHOUT}"
        return failure
    if not is_script():
        return failure
    ending.abandon(session)
    say(f"{failure.found}; beginning again with {standby.WITHOUT}")
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *sys.orig_argv[1:], *shlex.split(standby.WITHOUT)]
    os.execve(sys.executable, command, dict(environ))  # noqa: S606  # the command that a person typed


def is_script() -> bool:
    """Whether this process is `python SCRIPT FLAGS`, which can be begun again; a notebook or a test is not."""
    return sys.orig_argv[-len(sys.argv) :] == sys.argv
