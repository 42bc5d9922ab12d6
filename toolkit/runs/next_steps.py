"""What a person may want to do with a run next, as commands."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Container
from pathlib import Path

from toolkit.runs.completions import files_of
from toolkit.runs.names import AFTER, REPORT, SETTINGS
from toolkit.runs.record import Record

WITH_AN_ADAPTER = {"evaluate": "eval", "chat": "chat", "export": "export"}


def next_steps(record: Record, verbs: Container[str]) -> list[tuple[str, str]]:
    """(what for, command) of the verbs that there are, in the order in which they are useful."""
    run = shlex.quote(str(record.folder))
    found: list[tuple[str, str]] = []
    if (record.folder / REPORT).exists():
        found.append(("open", str(record.folder / REPORT)))
    elif record.rows:
        found.append(("draw", f"toolkit runs report {run}"))
    files = files_of(record.folder)
    if files:
        found.append(("look", f"toolkit runs completions {run}{' --step after' if AFTER in files else ''}"))
    if record.status in ("stopped", "killed", "failed") and any((record.folder / "checkpoints").glob("checkpoint-*")):
        recipe = record.at(SETTINGS, "recipe")
        found.append(("continue", f"python {_script(recipe)} --resume {run}"))
    if (record.folder / "adapter").is_dir():
        found += [(what, f"toolkit {verb} {run}") for what, verb in WITH_AN_ADAPTER.items() if verb in verbs]
    return found


def _script(recipe: object) -> str:
    """The recipe as it was started here, or by its name."""
    here = Path(sys.argv[0])
    return sys.argv[0] if here.stem == recipe else f"recipes/{recipe}.py"
