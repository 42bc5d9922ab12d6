"""Run a program as a script, whose `__name__` is `__main__`, or as a module that others ask for what it defines."""

from __future__ import annotations

import builtins
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes as long as half a start of the interpreter
    from typing import Any


def run(job: dict[str, Any], number: int) -> None:
    """Run `job["program"]` to its end; an exception ends the interpreter as it ends any script."""
    prepare_interpreter()
    execute(job["program"], "__main__")


def execute(program: str, name: str) -> dict[str, Any]:
    """Run a program as the module of that name, and return what it has defined; whatever it raises is passed on."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(program, "solution.py", "exec"), module.__dict__)  # noqa: S102
    return module.__dict__


def prepare_interpreter() -> None:
    """Streams over this process's own descriptors, and what `site` would have added."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        setattr(sys, name, open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
    sys.argv = ["solution.py"]
    for name in ("exit", "quit"):
        setattr(builtins, name, sys.exit)
