"""What the pinned releases come to on each kind of machine: `tested_sets.toml`, read and asked.

The versions themselves are the pins of pyproject.toml (`versions.tested_set`), which a line to install is filled in
from: so there is one place to change one, and it is where pip looks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from toolkit.compat.versions import Build, ReleaseSet

FILE = Path(__file__).with_name("tested_sets.toml")
TORCH_INDEX = "https://download.pytorch.org/whl"

Capability = tuple[int, int]
"""Compute capability, or a CUDA release: major and minor."""


@dataclass(frozen=True)
class TorchBuild:
    """Wheels of torch for one CUDA release."""

    cuda: Capability
    capability: tuple[Capability, Capability]
    """Oldest and newest card that they have kernels for."""
    driver: Mapping[str, str]
    """Oldest driver by operating system."""
    torch: str = ""
    """Releases of torch that this holds for; empty for all."""

    def has_kernels_for(self, capability: Capability) -> bool:
        """Say whether a card of this compute capability can run these wheels."""
        return self.capability[0] <= capability <= self.capability[1]


@dataclass(frozen=True)
class MachineSet:
    """One kind of machine."""

    name: str
    platforms: tuple[str, ...]
    """As `platform.system()` says it; WSL is `Linux`."""
    dtype: str
    """What a run computes in."""
    capability: tuple[Capability, Capability] | None = None
    """None without a card."""
    cuda: Capability | None = None
    """The build of torch that belongs to it."""
    attention: str = ""
    without_vllm: str = ""
    """Why vLLM does not run there; empty where it does."""
    impossible: str = ""
    """What the card lacks; empty where the main job can run."""
    install: str = ""
    """The line that installs all of it, with `{package}` for a pin; see `install_line`."""
    ran: str = ""
    """What of it has been run for real."""

    def install_line(self, tested: ReleaseSet) -> str:
        """The line that installs this set in a new environment; the same in bash, cmd and PowerShell."""
        return self.install.format(**pins(tested))

    def torch_line(self, tested: ReleaseSet, system: str) -> str:
        """The line that puts the right build of torch in the place of any other.

        It names the build, `2.13.0+cu130`, because to pip a CPU build of 2.13.0 meets `torch==2.13.0`.
        """
        torch = pins(tested).get("torch", "")
        if system == "Darwin":  # one build for all
            return f'pip install "torch=={torch}"'
        build = f"cu{self.cuda[0]}{self.cuda[1]}" if self.cuda else "cpu"
        return f'pip install "torch=={torch}+{build}" --index-url {TORCH_INDEX}/{build}'


@dataclass(frozen=True)
class Variant:
    """Releases beside the pins that somebody may have, as what differs from them."""

    name: str
    cuda: Capability
    differs: Mapping[str, str]
    ran: str
    without: tuple[str, ...] = ()
    """Pinned packages that do not go with it."""


@dataclass(frozen=True)
class Nearest:
    """The known set that what is installed comes closest to."""

    name: str
    ran: str
    differing: tuple[str, ...]
    """Packages that are installed in another version than it has."""


@dataclass(frozen=True)
class TestedSets:
    """The whole file."""

    builds: tuple[TorchBuild, ...]
    sets: tuple[MachineSet, ...]
    variants: tuple[Variant, ...]

    def for_machine(self, system: str, capability: Capability | None) -> MachineSet:
        """The set of a machine; `capability` None without a card. Any other system than three is taken for Linux."""
        known = system if any(system in row.platforms for row in self.sets) else "Linux"
        rows = [row for row in self.sets if known in row.platforms]
        without_card = next(row for row in rows if row.capability is None)
        return next((row for row in rows if _covers(row.capability, capability)), without_card)

    def build_of(self, cuda: Capability, torch: str) -> TorchBuild | None:
        """What is known of torch's wheels for a CUDA release: its own row, else the newest older one of the major."""
        rows = [b for b in self.builds if b.cuda[0] == cuda[0] and b.cuda <= cuda]
        rows = [b for b in rows if not b.torch or SpecifierSet(b.torch).contains(torch, prereleases=True)]
        return max(rows, key=lambda build: build.cuda, default=None)

    def can_run(self, system: str, capability: Capability, torch: Build | None) -> bool:
        """Whether the main job runs on such a card, and the installed build of torch is not known to lack kernels."""
        build = self.build_of(torch.cuda, torch.version) if torch and torch.cuda else None
        has_kernels = build is None or build.has_kernels_for(capability)
        return has_kernels and not self.for_machine(system, capability).impossible

    def nearest(self, row: MachineSet, tested: ReleaseSet, installed: Mapping[str, str]) -> Nearest:
        """This machine's set or a variant: the one that the fewest installed packages differ from.

        Packages that are not installed do not count. Where two are equally near, it is the machine's own.
        """
        wanted = pins(tested)
        candidates = [Nearest(row.name, row.ran, _differing(wanted, installed))]
        for variant in self.variants:
            if variant.cuda == row.cuda:
                others = {name: v for name, v in wanted.items() if name not in variant.without} | dict(variant.differs)
                candidates.append(Nearest(variant.name, variant.ran, _differing(others, installed)))
        return min(candidates, key=lambda candidate: len(candidate.differing))


def _covers(limits: tuple[Capability, Capability] | None, capability: Capability | None) -> bool:
    return limits is not None and capability is not None and limits[0] <= capability <= limits[1]


def _differing(wanted: Mapping[str, str], installed: Mapping[str, str]) -> tuple[str, ...]:
    """Packages of a set in another version; a build such as `+cpu` is not another version."""
    there = {name: version.partition("+")[0] for name, version in installed.items()}
    return tuple(name for name, version in wanted.items() if there.get(name, version) != version)


def pins(tested: ReleaseSet) -> dict[str, str]:
    """The packages that are pinned to one release, as pyproject.toml spells them."""
    exact = {r.name: str(r.specifier) for r in (*tested.base, *tested.gpu)}
    return {name: pin.removeprefix("==") for name, pin in exact.items() if pin.startswith("==") and "," not in pin}


@cache
def load() -> TestedSets:
    """Read the file beside this module; about a millisecond."""
    data = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return TestedSets(
        tuple(TorchBuild(**_typed(row)) for row in data["torch_build"]),
        tuple(MachineSet(**_typed(row)) for row in data["set"]),
        tuple(Variant(**_typed(row)) for row in data["variant"]),
    )


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's strings as the types that they stand for: `"12.6"` is (12, 6), a list is a tuple."""
    typed: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
    if "cuda" in typed:
        typed["cuda"] = _release(typed["cuda"])
    if "capability" in typed:
        typed["capability"] = tuple(map(_release, typed["capability"]))
    return typed


def _release(text: str) -> Capability:
    major, minor = text.split(".")
    return int(major), int(minor)
