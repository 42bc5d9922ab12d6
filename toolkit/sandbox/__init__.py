"""Model-written code, run where it can do no harm and cannot forge its verdict.

Each level gives the code a process of its own, an empty environment, a private folder, limits on processor time,
clock, memory, file size, disk, open files, processes and output (`Limits`), a filter of system calls, and an end:
what it has started is killed with it. The strongest level that works here is taken (`choose_level`).

| level      | made of                                | host's files      | network | its own processes    |
|------------|----------------------------------------|-------------------|---------|----------------------|
| bubblewrap | `bwrap`: namespaces, a root of its own | not there         | none    | limited              |
| namespaces | the same, with nothing to install      | not there         | none    | limited              |
| landlock   | Landlock and the filter; in containers | cannot be opened  | none    | none, and no threads |
| rlimits    | the filter and the limits only         | **open**          | none    | none, and no threads |

Processes of the host are out of reach at every level.

Shown to the code, read-only, are the libraries of the system and of the Python installation (`lib`, packages in it
included). With `landlock` it can also see whether a file exists, its size and owner. `rlimits` lets it read and write
what the user may; it is refused without `--allow_unsafe_code`.

Not covered by any level: holes in the kernel; memory of several processes together, beyond `processes` x `memory_mib`;
files without a name, up to `open_files` x `file_mib`, on the disk where there are no namespaces; slowing this machine
down within the limits. Linux on x86_64 and aarch64; bubblewrap, or Linux 5.12 for `namespaces`, 5.13 for `landlock`.

No expected value enters the code's process, so it cannot read or patch its way to a pass (`run`). What remains is what
the tests leave open: answers written out for the inputs that are tried, or learnt from an earlier look at the tests.
"""

from __future__ import annotations

from toolkit.sandbox.levels import Isolation, choose_level, find_isolation
from toolkit.sandbox.run import ScriptRun, TestRun, run_script, run_tests
from toolkit.sandbox.start import Level, Limits

__all__ = [
    "Isolation",
    "Level",
    "Limits",
    "ScriptRun",
    "TestRun",
    "choose_level",
    "find_isolation",
    "run_script",
    "run_tests",
]
