"""Cells of `benchmarks/gpu`, each run once in a process of its own: engines patch what they import for good."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.checkpoints import Checkpoints
from benchmarks.gpu.supervise import CellProcess, Workplace
from toolkit.machine.devices import Gpu, find_gpus
from toolkit.models.random import checkpoint_dtype
from toolkit.vram.constants import for_capability, shipped

LIMIT_S = 180
Run = Callable[[Cell], dict[str, Any]]


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    gpus, why = find_gpus()
    if not gpus:
        pytest.skip(f"needs a CUDA device: {why}")
    return gpus[0]


@pytest.fixture(scope="session")
def run(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a cell, or give what it found before."""
    folder = tmp_path_factory.mktemp("gpu")
    found: dict[str, dict[str, Any]] = {}
    capability = ".".join(map(str, gpu.compute_capability))
    context_gib = for_capability(shipped(), capability)["context"]["gib"]
    with (folder / "log").open("wb") as log:
        place = Workplace(gpu, folder / "models", folder / "work", log)
        wanted = [("0.5B", False), ("0.5B", True)]
        with Checkpoints(place.models, wanted, checkpoint_dtype(gpu), log) as checkpoints:

            def run_once(cell: Cell) -> dict[str, Any]:
                if cell.engine == "unsloth" and importlib.util.find_spec("unsloth") is None:
                    pytest.skip("unsloth is not installed")
                if cell.rollouts == "vllm" and importlib.util.find_spec("vllm") is None:
                    pytest.skip("vllm is not installed")
                for checkpoint in cell.checkpoints:
                    assert checkpoints.wait(checkpoint, LIMIT_S) == ""
                if cell.name not in found:
                    found[cell.name] = CellProcess(cell, place).run(cell.limit_s or LIMIT_S, context_gib)
                    print(Path(place.log.name).read_text(errors="replace")[-4000:])
                return found[cell.name]

            yield run_once
