"""The script that a sandbox starts: reads its job, leaves the host, and supervises the process that gets the code.

The job is a marshalled dict in a memory file on descriptor 0. What went wrong on the way in goes to stderr, with exit
code 71; what the supervisor sees goes, one dict a line, to the memory file whose descriptor the job names.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes as long as half a start of the interpreter
    from typing import Any

NOT_ISOLATED = 71


def main() -> None:
    """Returns in the process that ran the code, whose interpreter then ends as any other."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, folder)
    job = _read_job()
    try:
        task = _enter(job, folder)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(NOT_ISOLATED)
    task()


def _read_job() -> dict[str, Any]:
    with open(0, "rb", closefd=False) as file:
        return marshal.load(file)  # noqa: S302  (written by the process that started this one)


def _enter(job: dict[str, Any], folder: str) -> Any:
    """All the way in; what it returns runs the code. The supervisor and what waits for it never return."""
    import isolation
    import kernel
    import supervise

    task = import_module(job["task"])  # now: its file is out of reach later
    kernel.die_with_parent()
    if job["level"] == "namespaces" and (first := isolation.leave_host(job)):
        os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)
    if job["namespaces"]:
        isolation.mount_private_folder(job["limits"]["disk_mib"], job["user"])
    isolation.drop_privileges(job["user"])
    os.chdir(job["folder"])
    isolation.forget(folder)
    number = supervise.supervise(job)
    isolation.confine(job)
    return lambda: task.run(job, number)


if __name__ == "__main__":
    main()
