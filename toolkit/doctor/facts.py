"""What is looked up on a machine: files, the driver, one TCP connection. Nothing heavy is imported for it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.compat import versions
from toolkit.compat.versions import Build, Conflict, Package, ReleaseSet
from toolkit.devices import Gpu, find_gpus
from toolkit.hub import Hub, ask_hub
from toolkit.units import gib

ALLOCATOR_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
STANDBY_VARIABLE = "UNSLOTH_VLLM_STANDBY"
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
    wsl: bool
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
    compiled_by: Mapping[str, str] = field(default_factory=dict)
    """Versions behind an unsloth_compiled_cache in the working directory; empty without one."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the allocator and of standby, those that are set."""

    def has(self, package: str) -> bool:
        """Say whether a package can be imported."""
        return package in self.packages and self.packages[package].has_module


def collect() -> Facts:
    """Look at this machine; about a tenth of a second, and at most two more when the network hangs.

    Raises:
        ContractError: see `versions.tested_set`.
    """
    tested = versions.tested_set()
    gpus, why_no_gpu = _gpus()
    names = [r.name for r in (*tested.base, *tested.gpu)] + list(BESIDE_THE_SET)
    packages = {name: package for name in names if (package := versions.find_package(name))}
    # Without a card the gpu extra is not used, and Unsloth's CPU mode is installed without its requirements
    owners = (*tested.base, *tested.gpu) if gpus else tested.base
    return Facts(
        python=sys.version_info[:3],
        system=platform.system(),
        wsl=platform.system() == "Linux" and "microsoft" in platform.release().lower(),
        gpus=tuple(gpus),
        why_no_gpu=why_no_gpu,
        driver_cuda=_driver_cuda() if gpus else None,
        tested=tested,
        packages=packages,
        conflicts=versions.find_conflicts(r.name for r in owners),
        torch=versions.find_build("torch"),
        torchvision=versions.find_build("torchvision"),
        work=_disk(Path.cwd()),
        model_cache=_disk(_hub_folder("HF_HUB_CACHE")),
        hub=ask_hub(),
        token_from=_token_from(),
        compiled_by=versions.compiled_by(Path(COMPILED_CACHE)),
        variables={n: os.environ[n] for n in (*ALLOCATOR_VARIABLES, STANDBY_VARIABLE) if n in os.environ},
    )


def _gpus() -> tuple[list[Gpu], str]:
    try:
        return find_gpus()
    except ImportError:
        return [], "nvidia-ml-py is not installed, so the driver cannot be asked"


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


def _disk(folder: Path) -> Disk:
    """Of a folder that may not exist yet: its nearest parent that does."""
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
