"""From facts to findings: pure, so that a machine nobody here owns can be checked from a description of it."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.compat import environment
from toolkit.compat.environment import Situation
from toolkit.doctor.card import check_card
from toolkit.doctor.engines import check_engines
from toolkit.doctor.facts import Disk, Facts
from toolkit.doctor.packages import check_packages
from toolkit.doctor.remedies import set_variables, unset_variable
from toolkit.findings import Finding, Level
from toolkit.units import format_gib

ROOM_FOR_3B_GIB = 20.0  # base, its 16-bit merge, checkpoints
MIN_FREE_GIB = 0.5


def run_checks(facts: Facts) -> list[Finding]:
    """Judge a machine; findings come in the order in which a person would fix them."""
    parts = (
        _python,
        _platform,
        check_card,
        check_engines,
        check_packages,
        _environment,
        _disks,
        _network,
        _token,
        _sandbox,
    )
    return [finding for part in parts for finding in part(facts)]


def _python(facts: Facts) -> Iterator[Finding]:
    found = ".".join(map(str, facts.python))
    if facts.tested.python.contains(found):
        yield Finding("Python", "green", found)
    else:
        wanted = str(facts.tested.python)
        yield Finding("Python", "red", found, wanted, "install a newer Python and make a new environment with it")


def _platform(facts: Facts) -> Iterator[Finding]:
    if facts.wsl:
        yield from _wsl(facts)
    elif facts.system == "Windows":
        wanted = "Linux or WSL, for vLLM" if facts.gpus else "Linux or WSL"
        inside = facts.sets.for_machine("Linux", facts.gpus[0].compute_capability if facts.gpus else None)
        line = "wsl --install" + ("" if inside.impossible else f", then in it: {inside.install_line(facts.tested)}")
        yield Finding("platform", "amber", "Windows", wanted, line)
    elif facts.system == "Darwin":
        yield Finding("platform", "info", "macOS: only the CPU is used")
    else:
        yield Finding("platform", "green", facts.system)


def _wsl(facts: Facts) -> Iterator[Finding]:
    """WSL ends with its last terminal, and a run in the background with it (unsloth#4985)."""
    if facts.wsl is None:
        return
    found = f"Linux under WSL, with {format_gib(facts.wsl.ram_gib)} of the PC's memory"
    if facts.wsl.idle_timeout == "-1":
        yield Finding("platform", "green", found)
    else:
        level: Level = "info" if facts.wsl.idle_timeout is None else "amber"
        wanted = "vmIdleTimeout=-1: WSL ends soon after its last terminal, and a run with it"
        line = "in Windows, in %UserProfile%\\.wslconfig under [wsl2]: vmIdleTimeout=-1, then: wsl --shutdown"
        yield Finding("platform", level, found, wanted, line)
    if facts.wsl.has_linux_driver:
        found = "a Linux driver's libcuda stands before the one that Windows lends"
        line = "sudo apt-get purge 'libnvidia-compute-*' 'nvidia-driver-*'"
        yield Finding("WSL driver", "amber", found, "Windows' driver alone", line)


def _environment(facts: Facts) -> Iterator[Finding]:
    """What is set, against what the recipes set themselves (`compat.environment`)."""
    on_gpu = bool(facts.gpus)
    run = Situation(
        on_gpu=on_gpu,
        unsloth=on_gpu and facts.has("unsloth"),
        vllm=on_gpu and facts.has("vllm") and not facts.machine_set.without_vllm,
        standby=True,
    )
    for problem in environment.check(facts.variables, run):
        level: Level = "red" if problem.stops else "amber"
        found = f"{problem.name}={problem.value}"
        yield Finding("environment", level, found, problem.what, unset_variable(facts, problem.name))


def _disks(facts: Facts) -> Iterator[Finding]:
    on_gpu = bool(facts.gpus)
    yield _disk("disk, runs", facts.work, on_gpu, "red", "make room, or --output_dir FOLDER")
    # The embedded model is not cached
    move = set_variables(facts, HF_HOME="FOLDER")
    yield _disk("disk, models", facts.model_cache, on_gpu, "red" if on_gpu else "amber", f"make room, or {move}")


def _disk(name: str, disk: Disk, on_gpu: bool, when_full: Level, next_step: str) -> Finding:
    if disk.free_gib is None:
        return Finding(name, "amber", f"{disk.folder} cannot be asked", "its free space", next_step)
    found = f"{format_gib(disk.free_gib)} free in {disk.folder}"
    if not disk.writable:
        return Finding(name, when_full, f"{disk.folder} is read-only", "a writable folder", next_step)
    if disk.free_gib < MIN_FREE_GIB:
        return Finding(name, when_full, found, f"at least {format_gib(MIN_FREE_GIB)}", next_step)
    if on_gpu and disk.free_gib < ROOM_FOR_3B_GIB:
        return Finding(name, "amber", found, f"{format_gib(ROOM_FOR_3B_GIB)} for a 3B model and its merge", next_step)
    return Finding(name, "green", found)


def _network(facts: Facts) -> Iterator[Finding]:
    hub = facts.hub
    if hub.reachable is None:
        yield Finding("network", "info", f"not asked: {hub.why}")
    elif hub.reachable:
        yield Finding("network", "green", hub.host)
    else:
        found = f"{hub.host}: {hub.why}" if hub.host else hub.why
        others = "that are not cached" if facts.gpus else "other than the embedded one"
        next_step = "--model FOLDER" if facts.gpus else set_variables(facts, HF_HUB_OFFLINE="1")
        yield Finding("network", "amber", found, f"a connection, for models {others}", next_step)


def _token(facts: Facts) -> Iterator[Finding]:
    if facts.token_from:
        yield Finding("Hub token", "green", f"there, from {facts.token_from}")
    else:
        yield Finding("Hub token", "info", "none: only gated models and uploads need one", next_step="hf auth login")


def _sandbox(facts: Facts) -> Iterator[Finding]:
    """Only code rewards need it, so nothing here stops the main job."""
    if facts.isolation is None:
        return
    level, why = facts.isolation.level, facts.isolation.why
    if level is None:
        yield Finding("sandbox", "info", f"none: {why}", "Linux or WSL, for code rewards")
    elif level == "rlimits":
        next_step = "apt install bubblewrap"
        yield Finding("sandbox", "amber", f"{level}: {why}", "one that hides files, for code rewards", next_step)
    else:
        yield Finding("sandbox", "green", level)
