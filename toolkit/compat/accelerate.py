"""Accelerate 1.15: launches that start fewer processes than asked for, and what it calls a process's CPU."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.errors import BackendError

OF_MPI = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LAUNCHERS = ("launch", "accelerate-launch", "accelerate.commands.launch", "launch.py")
"""How a command line names `accelerate launch`, after which its own arguments follow."""


def start_all_on_a_cpu(environment: Mapping[str, str] = os.environ) -> None:
    """Become torchrun, with as many processes as `accelerate launch` was asked for. Call where there is no card.

    - Symptom: of `accelerate launch --num_processes 2` on a CPU one process starts, and trains on half of each batch.
    - Cause: accelerate leaves the other processes to mpirun, unless it sees two cards or is told `--multi_gpu`.
    - Remove when it starts them.

    Returns where there is nothing to do, or nobody to ask how many were asked for.
    """
    if not started_alone(environment) or os.name == "nt":  # exec does not replace a process on Windows
        return
    n = processes_asked_for(_launchers_words())
    if n is None or n < 2:
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or n) // n)))  # or torchrun says so at length
    print(f"accelerate starts one process on a CPU, so torchrun starts the {n} that were asked for", file=sys.stderr)
    sys.stderr.flush()
    run = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n))
    os.execv(sys.executable, [*run, *sys.argv])  # noqa: S606 (no shell: this very command line, by another launcher)


def started_alone(environment: Mapping[str, str]) -> bool:
    """Whether `accelerate launch` was asked for several processes and made this one without telling it of others."""
    return "WORLD_SIZE" not in environment and {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= environment.keys()


def processes_asked_for(words: Sequence[str]) -> int | None:
    """`num_processes` by a launcher's command line and accelerate's own configuration; None if it is none of its."""
    at = next((i for i, word in enumerate(words) if Path(word).name in LAUNCHERS), None)
    if at is None:
        return None
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    logging.getLogger("accelerate.commands.launch").setLevel(logging.ERROR)  # the launcher has named its defaults
    return _validate_launch_command(launch_command_parser().parse_args(words[at + 1 :]))[0].num_processes


def _launchers_words() -> list[str]:
    """The command line of the process that started this one; empty where it may not be asked."""
    import psutil

    try:
        return psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return []


def check_launch(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a launch whose processes do not know of one another.

    - Symptom: the run goes on with one share of the batch, and every process makes a run of its own.
    - Cause: `accelerate launch --num_processes N` starts one plain process unless it sees two cards or is told
      `--multi_gpu`, FSDP or DeepSpeed (on a CPU `start_all_on_a_cpu` has seen to it). mpirun has variables of its own,
      which accelerate reads for CPUs and this project does not.

    Raises:
        BackendError: one of the two.
    """
    if "WORLD_SIZE" in environment:
        return
    alone, torchrun = "this process is alone, with one share of the batch", "torchrun --nproc_per_node N"
    if started_alone(environment):
        raise BackendError(
            f"accelerate was asked for several processes and started one: {alone}",
            "a card for each, or none at all",
            f"or start it with {torchrun}",
        )
    if any(int(environment.get(name, "1")) > 1 for name in OF_MPI):
        raise BackendError(f"mpirun started this: {alone}", "accelerate launch or torchrun", torchrun)


def name_cpu() -> None:
    """Have accelerate call the device of a process on a CPU `cpu`. Call before it connects the processes.

    - Symptom: a resumed run of two processes stops with `don't know how to restore data location ... (tagged with
      cpu:0)` when transformers loads the optimizer.
    - Cause: accelerate counts CPUs as it counts cards, and `torch.load` knows no `cpu:0`.
    - Remove when `PartialState().device` of such a process is `cpu`.
    """
    os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
