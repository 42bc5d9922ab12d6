"""The shell lines that several checks hand out as what to do next."""

from __future__ import annotations

from toolkit.doctor.facts import Facts


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
