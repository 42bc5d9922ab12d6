"""One finding, and the shell lines that several checks hand out as remedies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from toolkit.doctor.facts import Facts

Status = Literal["ok", "warn", "fail", "info"]


@dataclass(frozen=True)
class Check:
    """One finding. `wanted` is empty where there is nothing to want.

    `fail`: the main job, the recipe as it starts without flags, cannot run. `warn`: it runs otherwise than it should,
    or may. `info`: nothing has to be mended.
    """

    name: str
    status: Status
    found: str
    wanted: str = ""
    remedy: str = ""
    """One line, a command where one helps; every `warn` and `fail` has it."""


def set_variables(facts: Facts, **variables: str) -> str:
    """The shell line that sets environment variables."""
    match facts.shell:
        case "cmd":  # without the quotes a blank before && belongs to the value
            return " && ".join(f'set "{name}={value}"' for name, value in variables.items())
        case "powershell":
            return "; ".join(f"$env:{name}='{value}'" for name, value in variables.items())
    return "export " + " ".join(f"{name}={value}" for name, value in variables.items())


def unset_variable(facts: Facts, name: str) -> str:
    """The shell line that removes an environment variable."""
    return {"cmd": f"set {name}=", "powershell": f"Remove-Item Env:{name}"}.get(facts.shell, f"unset {name}")


def remove_folder(facts: Facts, folder: str) -> str:
    """The shell line that removes a folder and what is in it."""
    line = {"cmd": "rmdir /s /q", "powershell": "Remove-Item -Recurse"}.get(facts.shell, "rm -r")
    return f"{line} {folder}"


def one_after_the_other(facts: Facts, *commands: str) -> str:
    """Several commands on one line; Windows PowerShell 5 has no `&&`."""
    return ("; " if facts.shell == "powershell" else " && ").join(commands)
