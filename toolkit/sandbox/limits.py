"""What one sandbox may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one sandbox. All that it can take at once: `processes` x `memory_mib` plus `disk_mib`.

    Each process is limited by itself, because only cgroups, which an ordinary user seldom has, limit a group's memory.
    """

    cpu_s: int = 4
    """Seconds of processor time for a process, its threads together; one more if it ignores the signal."""
    wall_s: float = 8.0
    """Seconds on the clock from the moment the sandbox stands, for everything that runs in it."""
    memory_mib: int = 512
    """Address space of a process, about 30 MiB of it the interpreter."""
    processes: int = 8
    """Processes and threads, the first one included; without namespaces there is one, whatever this says."""
    disk_mib: int = 32
    """The private folder, which is in memory where there are namespaces."""
    file_mib: int = 16
    """One file, standard output among them."""
    open_files: int = 32
    """Open descriptors of a process."""
    output_kib: int = 256
    """What is kept of standard output; more of it is never right."""


DEFAULT = Limits()
