"""One cell, in a process of its own: `python -m toolkit.bench.cell` reads its request, runs, and writes what it took.

The recipe runs as a person starts it, so what is measured is the recipe and not a copy of it.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from toolkit.errors import EXIT_BAD_INPUT, is_out_of_memory
from toolkit.files import write_json
from toolkit.machine.child import end_with_parent
from toolkit.machine.devices import PeakWatch, ProcessMemory
from toolkit.machine.peaks import proportional_gib, resident_peak_gib

HELD_EVERY_S = 1.0
"""Between two looks at the proportional memory, which the kernel counts page by page: 10 ms for 1 GiB."""


def main() -> None:
    """Run the cell whose request stands on standard input; see `sweep` for its keys."""
    request = json.loads(sys.stdin.readline())
    end_with_parent()
    import_s = time.time() - psutil.Process().create_time()
    began = time.monotonic()
    with PeakWatch(_held, HELD_EVERY_S) as watch:
        status, why = ENGINES[request["engine"]](request)
    found = {"status": status, "why": why, "import_s": round(import_s, 3), "run_s": round(time.monotonic() - began, 3)}
    found |= {"process_gib": round(resident_peak_gib(), 4), "pss_gib": watch.peak and round(watch.peak.gib, 4)}
    write_json(Path(request["result"]), found)


def _held() -> ProcessMemory | None:
    held = proportional_gib()
    return None if held is None else ProcessMemory(held, "PSS")


def run_recipe(request: Mapping[str, Any]) -> tuple[str, str]:
    """Run the recipe with the cell's flags; (`ok`, ``), or why it ended otherwise."""
    # a page would count in the cell's time and memory, and so would a look at completions, which need not teach here
    argv = [*request["argv"], "--report", "false", "--preflight", "false"]
    sys.argv = [request["recipe"], *argv, "--output_dir", request["run"]]
    try:
        runpy.run_path(request["recipe"], run_name="__main__")
    except SystemExit as stop:
        if not stop.code:
            return "ok", ""
        kind = _kind_of(stop)
        # what the run told a person, in one line, is in the log
        return kind, "" if stop.code == EXIT_BAD_INPUT else f"exit code {stop.code}"
    return "ok", ""


def run_plain(request: Mapping[str, Any]) -> tuple[str, str]:
    """Train with the script of the engine's own documentation instead."""
    from toolkit.bench import plain

    try:
        plain.run(request["engine"], request["recipe"], request["argv"], Path(request["run"]))
    except Exception as error:  # whatever it is, it is this cell's result
        traceback.print_exc()
        return ("out_of_memory" if is_out_of_memory(error) else "failed"), f"{type(error).__name__}: {error}"
    return "ok", ""


def _kind_of(stop: SystemExit) -> str:
    """What ended the run: `run_recipe` exits while the error that it tells is being handled."""
    error = stop.__context__
    if is_out_of_memory(error):
        return "out_of_memory"
    return "refused" if stop.code == EXIT_BAD_INPUT else "failed"


ENGINES: dict[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "toolkit": run_recipe,
    "trl": run_plain,
    "unsloth": run_plain,
}

if __name__ == "__main__":
    main()
    # What was registered is done; taking torch apart after that is a second that nobody needs
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
