"""A cell's own process. Imports the engine, waits for a line on standard input, measures, and writes what it found.

    python -m benchmarks.gpu.worker '{"device": ..., "cell": ...}'

The line is a JSON object with `models`, `work`, `context_gib` and `result`, the file to write whatever happens.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.flagship import measure_flagship
from benchmarks.gpu.numerics import compare_heads, compare_nf4, compare_precisions, pass_the_gate, plain_logps
from benchmarks.gpu.update import Place, backend_for, fingerprint, load, measure_load, measure_update, practice_rows
from toolkit import runs
from toolkit.compat import environment
from toolkit.errors import is_out_of_memory
from toolkit.files import write_json
from toolkit.machine.child import end_with_parent
from toolkit.machine.devices import Gpu, find_gpus
from toolkit.settings import flatten
from toolkit.settings.resolved import Resolved
from toolkit.training import Reward, build_trainer

ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # Unsloth asks for expandable segments
CPU = "cpu"


def main(start: dict[str, Any]) -> None:
    """Do what was asked, and write the result."""
    gpu = None if start["device"] == CPU else find_gpus()[0][0]
    cell, found = Cell(**start["cell"]), {}
    environment.set_before_imports(
        environment.Situation(
            on_gpu=gpu is not None,
            unsloth=cell.engine == "unsloth",
            vllm=cell.rollouts == "vllm",
            standby=cell.standby,
            card=gpu.visible_as if gpu else None,
            offline=True,
        )
    )
    import_error: Exception | None = None
    try:
        found["import_s"] = import_engine(cell)
    except Exception as error:  # told below: every kind of failure is a result here
        import_error = error
    request = json.loads(sys.stdin.readline() or sys.exit(1))
    end_with_parent()
    try:
        if import_error is not None:
            raise import_error
        models, work, result = (Path(request[name]) for name in ("models", "work", "result"))
        place = Place(gpu, models, work, request["context_gib"], result)
        KINDS[cell.kind](cell, place, found)
        found["status"], found["why"] = "ran", ""
    except Exception as error:
        traceback.print_exc()
        found["status"] = "out_of_memory" if is_out_of_memory(error) else "failed"
        found["why"] = describe(error)
    found["torch"] = describe_torch(gpu)
    write_json(Path(request["result"]), found)


def import_engine(cell: Cell) -> float:
    """Import what the engine needs, before anything is timed; seconds.

    Raises:
        BackendError: unsloth does not import.
    """
    begin = time.perf_counter()
    if cell.engine == "unsloth":
        from toolkit.backends.unsloth import _import_unsloth  # first of all, since its patches bind at import

        _import_unsloth()
    for name in ("torch", "transformers", "peft", "trl", "datasets"):
        importlib.import_module(name)
    return round(time.perf_counter() - begin, 2)


def measure_numerics(cell: Cell, place: Place, found: dict[str, Any]) -> None:
    """Every numerical check that one process can make. One that cannot be made is kept with its reason."""
    checks = found.setdefault("checks", [])
    sixteen, backend = replace(cell, load_in_4bit=False), backend_for(cell, place.gpu)
    if cell.engine == "transformers":  # Unsloth's kernels do not run in float32
        policy = load(sixteen, backend, place.checkpoint(sixteen))
        checks += _tried("precisions", lambda: compare_precisions(policy, place.gpu))
        del policy
    policy, settings = load(cell, backend, place.checkpoint(cell)), cell.settings(cell.size)
    found["n_linear_4bit"] = policy.n_linear_4bit
    if cell.load_in_4bit:
        checks += _tried("NF4", lambda: compare_nf4(policy))
    plain = plain_logps(policy, place.gpu)
    run = runs.create("gpu_check", place.work / "run", flatten(settings))
    rewards, resolved = [Reward(fingerprint)], Resolved.of(settings)
    trainer = build_trainer(policy, practice_rows(), rewards, resolved, run, backend).trainer
    checks += _tried("fused log-probabilities", lambda: compare_heads(trainer, plain))
    checks += _tried("parity gate", lambda: pass_the_gate(trainer))
    run.close()


def _tried(what: str, make: Callable[[], Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
    try:
        return list(make())
    except Exception as error:  # as in `main`
        traceback.print_exc()
        return [{"check": what, "unit": "", "found": None, "bound": None, "passes": None, "why": describe(error)}]


KINDS = {"flagship": measure_flagship, "numerics": measure_numerics, "load": measure_load, "update": measure_update}


def describe(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:240]}"


def describe_torch(gpu: Gpu | None) -> dict[str, Any]:
    """How torch was built, as only itself knows, and what its allocator was told."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    cudnn = torch.backends.cudnn.version() if gpu else None
    set_by_engine = {name: os.environ[name] for name in ALLOCATOR_VARIABLES if name in os.environ}
    return {"version": torch.__version__, "cuda": torch.version.cuda, "cudnn": cudnn, "allocator": set_by_engine}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
