"""The tested set and what is installed instead of it, read from files only: nothing is imported to ask its version.

The set is declared once, in pyproject.toml. An installed copy carries it as metadata; a checkout is asked directly,
because an editable install keeps the metadata of the day it was made and would go on comparing with old pins.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from toolkit.errors import ContractError

DISTRIBUTION = "grpo-toolkit"
GPU_EXTRA = "gpu"
GPU_LINE = f'pip install -e ".[{GPU_EXTRA}]"'
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

# Distributions whose module has a name of its own
_MODULES = {"nvidia-ml-py": "pynvml", "pyyaml": "yaml", "triton-windows": "triton"}


@dataclass(frozen=True)
class ReleaseSet:
    """The releases this project was run with."""

    python: SpecifierSet
    base: tuple[Requirement, ...]
    """What every machine needs."""
    gpu: tuple[Requirement, ...]
    """What the `gpu` extra adds."""


@dataclass(frozen=True)
class Package:
    """An installed distribution: its version, None when its metadata is gone, and whether its module is there."""

    version: str | None
    has_module: bool = True


@dataclass(frozen=True)
class Build:
    """How a wheel of torch or torchvision was built."""

    version: str
    """With its local part, which the metadata of most wheels lack: `2.13.0+cu130`."""
    cuda: tuple[int, int] | None
    """CUDA release it was built for; None for a CPU build."""


@dataclass(frozen=True)
class Conflict:
    """A package whose own requirement is not met by what is installed."""

    owner: str
    requirement: Requirement
    found: str | None
    """Installed version of the required package; None when it is missing."""


def tested_set() -> ReleaseSet:
    """Return the tested set, from pyproject.toml beside the package or else from the installed metadata.

    Raises:
        ContractError: neither is there, or pyproject.toml cannot be read.
    """
    try:
        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:
            base, extras = project["dependencies"], project["optional-dependencies"]
            return _release_set(project["requires-python"], base, extras[GPU_EXTRA])
    except FileNotFoundError:
        pass
    except (OSError, KeyError, tomllib.TOMLDecodeError, InvalidRequirement) as error:
        raise ContractError(f"{PYPROJECT} cannot be read ({error})", "the file of this release") from error
    return _installed_set()


def _installed_set() -> ReleaseSet:
    try:
        about = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise ContractError(
            f"{DISTRIBUTION} is not installed", "its list of requirements", "pip install -e ."
        ) from error
    lines = about.get_all("Requires-Dist") or []
    gpu = [line for line in lines if re.search(rf"extra\s*==\s*['\"]{GPU_EXTRA}['\"]", line)]
    return _release_set(about["Requires-Python"], [line for line in lines if "extra ==" not in line], gpu)


def _release_set(python: str, base: Iterable[str], gpu: Iterable[str]) -> ReleaseSet:
    return ReleaseSet(SpecifierSet(python), _here(base), _here(gpu))


def _here(lines: Iterable[str]) -> tuple[Requirement, ...]:
    """The requirements whose markers hold on this machine."""
    parsed = map(Requirement, lines)
    return tuple(r for r in parsed if r.marker is None or r.marker.evaluate({"extra": GPU_EXTRA}))


def find_package(name: str) -> Package | None:
    """Look a distribution up by metadata and module; None when neither is there."""
    module = _MODULES.get(canonicalize_name(name), name.replace("-", "_"))
    package = Package(version_of(name), _spec_origin(module) is not None)
    return package if package.version or package.has_module else None


def pip_line(*requirements: Requirement) -> str:
    """The command that installs these requirements: `pip install "trl==1.15.0"`."""
    return "pip install " + " ".join(f'"{r.name}{r.specifier}"' for r in requirements)


def meets(requirement: Requirement, version: str) -> bool:
    """Say whether a version satisfies a requirement; a local part such as `+cpu` does not count against it."""
    return requirement.specifier.contains(version, prereleases=True)


def find_conflicts(owners: Iterable[str]) -> tuple[Conflict, ...]:
    """Check the requirements of these installed distributions, as `pip check` does; extras are left out."""
    conflicts: list[Conflict] = []
    known = cache(version_of)  # most of them ask for the same few
    for owner in owners:
        try:
            lines = metadata.requires(owner) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, filter(_may_apply, lines)):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            found = known(requirement.name)
            if found is None or not meets(requirement, found):
                conflicts.append(Conflict(owner, requirement, found))
    return tuple(conflicts)


def find_build(module: str) -> Build | None:
    """Read the version.py that torch and torchvision write when they are built; None when it is not there."""
    origin = _spec_origin(module)
    path = Path(origin).with_name("version.py") if origin else None
    if path is None or not path.exists():
        return None
    source = path.read_text(encoding="utf-8")
    version = re.search(r"^__version__ = '([^']+)'", source, re.MULTILINE)
    if version is None:
        return None
    declared = re.search(r"^cuda\b[^=]*= '(\d+)\.(\d+)", source, re.MULTILINE)
    tagged = re.search(r"\+cu(\d+)(\d)$", version[1])  # torchvision declares no `cuda`
    cuda = declared or tagged
    return Build(version[1], (int(cuda[1]), int(cuda[2])) if cuda else None)


def _may_apply(line: str) -> bool:
    """False for a requirement of an extra: four in five are, and to parse them all takes longer than all else here."""
    return "extra ==" not in line or " or " in line


def version_of(name: str) -> str | None:
    """The version in the metadata of a distribution; None where it has none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _spec_origin(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # ValueError: a module in sys.modules without a spec
        return None
    return spec.origin if spec else None
