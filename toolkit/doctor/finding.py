"""One finding, and the shell lines that several checks hand out as remedies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement

from toolkit.compat.versions import pip_line
from toolkit.doctor.facts import Facts

Status = Literal["ok", "warn", "fail", "info"]


@dataclass(frozen=True)
class Check:
    """One finding. `wanted` and `remedy` are empty where there is nothing to want or to do.

    `fail`: the main job, the recipe as it starts without flags, cannot run. `warn`: it runs otherwise than it should,
    or may. `info`: nothing to mend.
    """

    name: str
    status: Status
    found: str
    wanted: str = ""
    remedy: str = ""
    """A command where one helps."""


def set_variables(facts: Facts, **variables: str) -> str:
    """The shell line that sets environment variables."""
    pairs = [f"{name}={value}" for name, value in variables.items()]
    return " & ".join(f"set {pair}" for pair in pairs) if facts.system == "Windows" else f"export {' '.join(pairs)}"


def install_cuda_torch(facts: Facts) -> str:
    """The shell line that changes the build of torch; to pip 2.13.0+cpu meets torch==2.13.0, so it goes first."""
    wanted = next((r for r in facts.tested.base if r.name == "torch"), Requirement("torch"))
    if facts.system == "Windows":  # where the package index has CPU builds only
        return "pip uninstall -y torch, then the CUDA 13 build: https://pytorch.org/get-started"
    return f"pip uninstall -y torch && {pip_line(wanted)}"
