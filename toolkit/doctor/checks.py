"""From facts to findings: pure, so that a machine nobody here owns can be checked from a description of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolkit.doctor.card import check_card
from toolkit.doctor.facts import ALLOCATOR_VARIABLES, STANDBY_VARIABLE, Disk, Facts
from toolkit.doctor.finding import Check, Status, set_variables
from toolkit.doctor.packages import check_packages
from toolkit.units import format_gib

ROOM_FOR_3B_GIB = 20.0  # base, its 16-bit merge, checkpoints
MIN_FREE_GIB = 0.5


def run_checks(facts: Facts) -> list[Check]:
    """Judge a machine; findings come in the order in which a person would mend them."""
    parts = (_python, _platform, check_card, check_packages, _allocator, _disks, _network, _token)
    return [check for part in parts for check in part(facts)]


def _python(facts: Facts) -> Iterator[Check]:
    found = ".".join(map(str, facts.python))
    if facts.tested.python.contains(found):
        yield Check("Python", "ok", found)
    else:
        wanted = str(facts.tested.python)
        yield Check("Python", "fail", found, wanted, "install a newer Python and make a new environment with it")


def _platform(facts: Facts) -> Iterator[Check]:
    if facts.system == "Windows":
        wanted = "Linux or WSL: vLLM has no Windows build, so transformers samples the completions"
        yield Check("platform", "warn", "Windows", wanted if facts.gpus else "Linux or WSL", "wsl --install")
    elif facts.system == "Darwin":
        yield Check("platform", "warn", "macOS", "Linux: not tested here, and the CPU is all that is used")
    else:
        yield Check("platform", "ok", "Linux under WSL" if facts.wsl else facts.system)


def _allocator(facts: Facts) -> Iterator[Check]:
    """Standby cannot sleep over expandable segments; the recipes turn it on where there is a GPU and vLLM."""
    standby = facts.variables.get(STANDBY_VARIABLE, "1" if facts.gpus and facts.has("vllm") else "0") == "1"
    for name in ALLOCATOR_VARIABLES:
        value = facts.variables.get(name, "")
        if standby and re.search(r"expandable_segments\s*:\s*true", value, re.IGNORECASE):
            line = f"set {name}=" if facts.system == "Windows" else f"unset {name}"
            yield Check("allocator", "warn", f"{name}={value}", "no expandable segments under vLLM's standby", line)


def _disks(facts: Facts) -> Iterator[Check]:
    on_gpu = bool(facts.gpus)
    yield _disk("disk, runs", facts.work, on_gpu, "fail", "make room, or --output_dir FOLDER")
    # The embedded model is not cached
    move = set_variables(facts, HF_HOME="FOLDER")
    yield _disk("disk, models", facts.model_cache, on_gpu, "fail" if on_gpu else "warn", f"make room, or {move}")


def _disk(name: str, disk: Disk, on_gpu: bool, when_full: Status, remedy: str) -> Check:
    if disk.free_gib is None:
        return Check(name, "warn", f"{disk.folder} cannot be asked", "its free space")
    found = f"{format_gib(disk.free_gib)} free in {disk.folder}"
    if not disk.writable:
        return Check(name, when_full, f"{disk.folder} is read-only", "a writable folder", remedy)
    if disk.free_gib < MIN_FREE_GIB:
        return Check(name, when_full, found, f"at least {format_gib(MIN_FREE_GIB)}", remedy)
    if on_gpu and disk.free_gib < ROOM_FOR_3B_GIB:
        return Check(name, "warn", found, f"{format_gib(ROOM_FOR_3B_GIB)} for a 3B model and its merge", remedy)
    return Check(name, "ok", found)


def _network(facts: Facts) -> Iterator[Check]:
    hub = facts.hub
    if hub.reachable is None:
        yield Check("network", "info", f"not asked: {hub.why}")
    elif hub.reachable:
        yield Check("network", "ok", hub.host)
    else:
        found = f"{hub.host}: {hub.why}" if hub.host else hub.why
        others = "that are not cached" if facts.gpus else "other than the embedded one"
        yield Check("network", "warn", found, f"a connection, for models {others}", "--model FOLDER" * bool(facts.gpus))


def _token(facts: Facts) -> Iterator[Check]:
    if facts.token_from:
        yield Check("Hub token", "ok", f"there, from {facts.token_from}")
    else:
        yield Check("Hub token", "info", "none: only gated models and uploads need one", remedy="hf auth login")
