"""What is looked up on a machine: files, the driver, one TCP connection. Nothing heavy is imported for it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.compat import compiled_cache, environment, tested_sets, unsloth, versions
from toolkit.compat.tested_sets import MachineSet, Nearest, TestedSets
from toolkit.compat.versions import Build, Conflict, Package, ReleaseSet
from toolkit.doctor.system import Shell, Wsl, cards_by_vendor, find_shell, find_wsl
from toolkit.machine.devices import CardProcess, Gpu, find_gpus, other_processes
from toolkit.machine.hub import Hub, ask_hub
from toolkit.sandbox import Isolation, find_isolation
from toolkit.units import gib

BESIDE_THE_SET = ("torchvision", "triton")  # not required, but their presence or absence breaks things
COMPILED_CACHE = "unsloth_compiled_cache"


@dataclass(frozen=True)
class Disk:
    """Room for one purpose; `free_gib` is None where the disk cannot be asked."""

    folder: str
    free_gib: float | None
    writable: bool = True


@dataclass(frozen=True)
class Facts:
    """A machine as the checks see it. Holds where a token was found, never the token."""

    python: tuple[int, int, int]
    system: str
    """`Linux`, `Windows` or `Darwin`."""
    gpus: tuple[Gpu, ...]
    why_no_gpu: str
    driver_cuda: tuple[int, int] | None
    """Newest CUDA that the loaded driver library supports, as nvidia-smi prints it."""
    tested: ReleaseSet
    packages: Mapping[str, Package]
    """By the name the tested set uses; absent ones are left out."""
    conflicts: tuple[Conflict, ...]
    torch: Build | None
    torchvision: Build | None
    work: Disk
    model_cache: Disk
    hub: Hub
    token_from: str
    """`HF_TOKEN`, `the login file`, or empty."""
    wsl: Wsl | None = None
    """None outside WSL, whose `system` is Linux."""
    shell: Shell = "bash"
    """What the remedies are written for."""
    vendors: tuple[str, ...] = ()
    """Makers of the graphics cards in this machine, whether or not a driver is there; Linux only."""
    processes: tuple[CardProcess, ...] = ()
    """Others that compute on the first card."""
    compiled_by: Mapping[str, str] = field(default_factory=dict)
    """Versions behind an unsloth_compiled_cache in the working directory; empty without one."""
    broken_calls: tuple[str, ...] = ()
    """What the installed Unsloth and vLLM do not take as this project passes it; see `compat.unsloth.differences`."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those that `compat.environment` watches and that are set."""
    sets: TestedSets = field(default_factory=tested_sets.load)

    isolation: Isolation | None = None
    """What keeps model-written code in, for rewards that run it; None where it was not tried."""

    def has(self, package: str) -> bool:
        """Say whether a package can be imported."""
        return package in self.packages and self.packages[package].has_module

    @property
    def machine_set(self) -> MachineSet:
        """What the tested set comes to on this machine, for the card that a run would take."""
        return self.sets.for_machine(self.system, self.gpus[0].compute_capability if self.gpus else None)

    @property
    def nearest(self) -> Nearest:
        """The known set that what is installed here comes closest to."""
        installed = {name: package.version for name, package in self.packages.items() if package.version}
        return self.sets.nearest(self.machine_set, self.tested, installed)


def collect(hub: Hub | None = None) -> Facts:
    """Look at this machine, in 0.1 s, or two more when the network hangs; a ContractError as `tested_set` has it.

    `hub` is what is known of the network; None asks.
    """
    tested = versions.tested_set()
    gpus, why_no_gpu = _gpus()
    names = [r.name for r in (*tested.base, *tested.gpu)] + list(BESIDE_THE_SET)
    # Without a card the gpu extra is not used, and Unsloth's CPU mode is installed without its requirements
    owners = (*tested.base, *tested.gpu) if gpus else tested.base
    return Facts(
        python=sys.version_info[:3],
        system=platform.system(),
        wsl=find_wsl(),
        shell=find_shell(),
        gpus=tuple(gpus),
        why_no_gpu=why_no_gpu,
        vendors=cards_by_vendor(),
        driver_cuda=_driver_cuda() if gpus else None,
        processes=tuple(other_processes(gpus[0])) if gpus else (),
        tested=tested,
        packages={name: package for name in names if (package := versions.find_package(name))},
        conflicts=versions.find_conflicts(r.name for r in owners),
        torch=versions.find_build("torch"),
        torchvision=versions.find_build("torchvision"),
        work=_disk(Path.cwd()),
        model_cache=_disk(_hub_folder("HF_HUB_CACHE")),
        hub=hub or ask_hub(),
        token_from=_token_from(),
        isolation=find_isolation(),
        compiled_by=_compiled_by(Path(COMPILED_CACHE)),
        broken_calls=tuple(unsloth.differences()),
        variables={name: os.environ[name] for name in environment.WATCHED if name in os.environ},
    )


def _gpus() -> tuple[list[Gpu], str]:
    try:
        gpus, why = find_gpus()
    except ImportError:
        return [], "nvidia-ml-py is not installed, so the driver cannot be asked"
    return best_first(gpus), why


def best_first(gpus: Sequence[Gpu]) -> list[Gpu]:
    """The cards in the order in which a run of one process takes them.

    That is the order of `CUDA_VISIBLE_DEVICES` where it is set. Else cards that can run the main job come before
    others, larger ones before smaller ones, and among equals the driver's order decides.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        return list(gpus)
    sets, torch, system = tested_sets.load(), versions.find_build("torch"), platform.system()

    def rank(gpu: Gpu) -> tuple[bool, float]:
        return not sets.can_run(system, gpu.compute_capability, torch), -round(gpu.total_gib, 1)

    return sorted(gpus, key=rank)


def _driver_cuda() -> tuple[int, int] | None:
    """Asked rather than derived from the driver's number: a cuda-compat library raises it on data-centre cards."""
    import pynvml

    try:
        pynvml.nvmlInit()
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return number // 1000, number % 1000 // 10


def _compiled_by(folder: Path) -> dict[str, str]:
    """Versions at the head of the first file of other versions in an `unsloth_compiled_cache`, else of the last one."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.py")):
        if head := compiled_cache.made_with(path):
            found = head
            installed = {name: versions.find_package(name) for name in head}
            if any(package is None or package.version != head[name] for name, package in installed.items()):
                break
    return found


def _disk(folder: Path) -> Disk:
    """Room for a folder; where it does not exist yet, in its nearest parent that does."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        free_gib = gib(shutil.disk_usage(existing).free)
    except OSError:
        free_gib = None
    return Disk(str(folder), free_gib, os.access(existing, os.W_OK))


def _hub_folder(constant: str) -> Path:
    """A path by huggingface_hub's own rules (HF_HOME, XDG_CACHE_HOME, ...); its constants load nothing else."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return Path.home() / ".cache" / "huggingface"
    return Path(getattr(constants, constant))


def _token_from() -> str:
    """Where huggingface_hub would take a token from. The file is not opened: that it holds something is enough."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name, "").strip():
            return name
    with contextlib.suppress(OSError):
        file = _hub_folder("HF_TOKEN_PATH")
        if file.is_file() and file.stat().st_size > 0:
            return "the login file"
    return ""
