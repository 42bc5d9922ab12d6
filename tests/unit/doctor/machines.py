"""Machines as the doctor sees them, described: cards, packages and systems that the tests put together."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from toolkit.compat import versions
from toolkit.compat.tested_sets import pins
from toolkit.compat.versions import Build, Package, ReleaseSet
from toolkit.doctor.facts import Disk, Facts
from toolkit.doctor.system import Shell, Wsl
from toolkit.machine.devices import Gpu
from toolkit.machine.hub import Hub


def pinned(sys_platform: str) -> ReleaseSet:
    """The pins as pip would read them on another system."""
    project = tomllib.loads(versions.PYPROJECT.read_text(encoding="utf-8"))["project"]
    extra = [Requirement(line) for line in project["optional-dependencies"]["gpu"]]
    here = {"extra": "gpu", "sys_platform": sys_platform}
    return ReleaseSet(
        SpecifierSet(project["requires-python"]),
        tuple(map(Requirement, project["dependencies"])),
        tuple(r for r in extra if r.marker is None or r.marker.evaluate(here)),
    )


LINUX, WINDOWS = pinned("linux"), pinned("win32")
TORCH = pins(LINUX)["torch"]
GPU_EXTRA = tuple(r.name for r in LINUX.gpu)
CUDA_13, CUDA_12_6, CPU_BUILD = (
    Build(f"{TORCH}+cu130", (13, 0)),
    Build(f"{TORCH}+cu126", (12, 6)),
    Build(f"{TORCH}+cpu", None),
)


def packages(*without: str, tested: ReleaseSet = LINUX, **others: str) -> dict[str, Package]:
    """Every package of the tested set with triton, less some, and some in other versions."""
    lowest = {
        r.name: spec.version for r in (*tested.base, *tested.gpu) for spec in r.specifier if spec.operator[0] in "=>"
    }
    found = lowest | {"triton": "3.7.1"}
    found |= {name.replace("_", "-") if name != "unsloth_zoo" else name: v for name, v in others.items()}
    return {name: Package(version) for name, version in found.items() if name not in without}


def card(name: str, gib: float, capability: tuple[int, int], driver: str = "580.65.06") -> Gpu:
    return Gpu(0, name, gib, gib - 0.5, capability, driver)


RTX_3060, RTX_4090 = card("NVIDIA GeForce RTX 3060", 11.6, (8, 6)), card("NVIDIA GeForce RTX 4090", 23.5, (8, 9))
RTX_5090, B200 = card("NVIDIA GeForce RTX 5090", 31.8, (12, 0)), card("NVIDIA B200", 178.4, (10, 0))
A100, H200 = card("NVIDIA A100-SXM4-80GB", 79.3, (8, 0)), card("NVIDIA H200", 139.8, (9, 0))
T4, V100 = card("Tesla T4", 14.6, (7, 5)), card("Tesla V100-SXM2-16GB", 15.8, (7, 0))
GTX_1080 = card("NVIDIA GeForce GTX 1080", 7.9, (6, 1))

CPU_BOX = Facts(
    python=(3, 12, 3),
    system="Linux",
    gpus=(),
    why_no_gpu="no CUDA device (nvml shared library not found)",
    driver_cuda=None,
    tested=LINUX,
    packages=packages(*GPU_EXTRA, "triton", torch=CPU_BUILD.version),
    conflicts=(),
    torch=CPU_BUILD,
    torchvision=None,
    work=Disk("/home/me", 50.0),
    model_cache=Disk("/home/me/.cache/huggingface/hub", 50.0),
    hub=Hub("hub.example", True),
    token_from="",
)


def change(machine: Facts, **changes: Any) -> Facts:
    return replace(machine, **changes)


def with_card(gpu: Gpu, **changes: Any) -> Facts:
    """Linux with a card and all that belongs to it."""
    there = {"gpus": (gpu,), "why_no_gpu": "", "driver_cuda": (13, 0), "packages": packages(), "torch": CUDA_13}
    return replace(CPU_BOX, **(there | changes))


def windows(gpu: Gpu | None, shell: Shell = "powershell", **changes: Any) -> Facts:
    machine = with_card(gpu) if gpu else CPU_BOX
    there = packages(tested=WINDOWS) if gpu else packages("triton-windows", "triton", "unsloth", "unsloth_zoo")
    return replace(machine, **({"system": "Windows", "shell": shell, "tested": WINDOWS, "packages": there} | changes))


V100_IN_ORDER = with_card(V100, torch=CUDA_12_6, packages=packages("vllm", "vllm-bnb-plugin"))
WSL_IN_ORDER = with_card(RTX_4090, wsl=Wsl(31.2, idle_timeout="-1"))
MACOS = change(CPU_BOX, system="Darwin")
STALE = {"unsloth": "2026.10.9", "transformers": "5.16.0", "trl": "1.14.0"}
