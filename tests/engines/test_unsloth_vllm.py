"""Unsloth's fast inference with a real vLLM on a CPU: its adapters, its trainer's rollouts, and the gate over both.

Not covered: memory shared between vLLM and the trainer, standby, 4-bit in vLLM, and CUDA kernels need a card.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.recipes import harness

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None,
        reason="vllm is not installed beside unsloth: tests/engines/make_env.sh unsloth-vllm FOLDER",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the run."""
    return tmp_path_factory.mktemp("fast_inference")


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    script = Path(__file__).parent / "fast_inference.py"
    path = os.pathsep.join([str(harness.ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, script, folder / "run"], capture_output=True, text=True, check=False, cwd=folder,
        env=harness.environment(PYTHONPATH=path), timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))


def test_the_generated_trainer_takes_its_rollouts_from_the_engine(result: dict[str, Any], folder: Path) -> None:
    assert (result["engine"], result["steps"]) == (True, 2)
    assert result["differences"] == []
    assert all(row["time/rollout_s"] > 0 for row in harness.metrics(folder / "run"))


def test_every_projection_of_the_adapter_reaches_the_engine(result: dict[str, Any], folder: Path) -> None:
    (check,) = json.loads((folder / "run" / "parity.json").read_text())["checks"]
    assert check["situation"]["sampler"] == "Unsloth's vLLM"
    assert check["finding"]["level"] == "green", check
    shares = [probe["applied"] for probe in check["probes"] if probe["applied"] is not None]
    assert len(shares) == 8
    assert all(abs(share - 1) < 1e-3 for share in shares), shares
    assert check["probes"][0]["noise_mean"] < 1e-5, "float32 in both"


def test_measuring_uses_the_trained_adapter(result: dict[str, Any]) -> None:
    assert result["answers"]["vllm"] == result["answers"]["transformers"]


def test_an_engine_without_the_adapter_is_caught(result: dict[str, Any]) -> None:
    assert result["no adapter reaches vLLM"] == ["red", "adapter unused"]


def test_an_engine_that_scales_the_trained_weights_is_caught(result: dict[str, Any]) -> None:
    """What vLLM does to an adapter of its own type, unless it gets copies (`compat.unsloth_rollouts`)."""
    assert result["vLLM scales the trained weights"][0] == "red"


def test_nothing_is_left_in_the_working_directory(result: dict[str, Any]) -> None:
    assert result["working_directory"] == ["run"]
