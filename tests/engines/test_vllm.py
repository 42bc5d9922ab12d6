"""Real vLLM on a CPU, in the trainer: every rollout is drawn from the weights in training, and a broken one is told.

Proof is the difference between vLLM's log-probabilities of what it drew and the trainer's. Equal greedy text is none:
it was equal with stale weights, too. Not covered here: sleep mode and 4-bit weights need a CUDA device.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.recipes import harness
from toolkit.runs.metrics import is_volatile

pytestmark = pytest.mark.engine

DIFFERENCE = "sampling/sampling_logp_difference/mean"  # nats a token
SYNCED, UNSYNCED = 1e-5, 1e-3  # float32: below the first, above the second
BASELINE = harness.ROOT / "benchmarks" / "baselines" / "gsm8k_r1_embedded.json"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, harness.Result]:
    folder = tmp_path_factory.mktemp("vllm") / "run"
    result = harness.run(
        "--use_vllm", "true", "--max_steps", "4", "--per_device_train_batch_size", "32", "--save_steps", "2",
        "--warmup_steps", "0", "--output_dir", folder,
        env={"CXX": "/no/compiler", "TORCHINDUCTOR_CACHE_DIR": str(folder.parent / "inductor")},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("vllm_controls") / "run"
    command = [sys.executable, "-m", "tests.engines.vllm_controls", str(folder)]
    done = subprocess.run(
        command, cwd=harness.ROOT, env=harness.environment(), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))


def test_the_run_says_that_vllm_rolls_out(run: tuple[Path, harness.Result]) -> None:
    lines = run[1].stdout.splitlines()
    assert "rollouts: vLLM in this process, in float32" in lines
    assert "attention: PyTorch's SDPA in training, vLLM's own for CPUs in rollouts" in lines
    effective = json.loads((run[0] / "settings.json").read_text())["effective"]
    assert (effective["use_vllm"], effective["vllm_mode"]) == (True, "colocate")


def test_every_rollout_is_drawn_from_the_weights_in_training(run: tuple[Path, harness.Result]) -> None:
    rows = harness.metrics(run[0])
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert max(row[DIFFERENCE] for row in rows) < SYNCED
    assert all(row["grad_norm"] > 0 for row in rows), "nothing was learnt, so this test would prove nothing"


def test_without_a_sync_the_same_figure_tells(broken: dict[str, Any]) -> None:
    first, *later = broken["unsynced"]
    assert first < SYNCED, "before the first update there is nothing to sync"
    assert len(later) == 2
    assert min(later) > UNSYNCED


def test_the_gate_lets_a_healthy_run_pass(run: tuple[Path, harness.Result]) -> None:
    said = [line for line in run[1].stdout.splitlines() if line.startswith("parity")]
    assert len(said) == 1
    assert said[0].startswith("parity: vLLM (colocate) draws from the weights in training")
    checks = json.loads((run[0] / "parity.json").read_text())["checks"]
    assert [check["finding"]["level"] for check in checks] == ["green"]
    assert checks[0]["drift"] == 0, "a sync has moved the base"


@pytest.mark.parametrize(
    ("control", "level", "cause", "said"),
    [
        ("no sync", "red", "adapter unused", "its weights are not synced"),
        ("one projection never loaded", "red", "part unused", "its loader does not take these weights"),
        ("stale head", "red", "base differs", "a head or embedding that is not synced"),
        ("scaled adapter", "red", "scaled", "lora_alpha / r"),
        ("healed", "green", "", ""),
    ],
)
def test_the_gate_tells_what_is_wrong_with_an_engine(
    control: str, level: str, cause: str, said: str, broken: dict[str, Any]
) -> None:
    found = broken["controls"][control]
    assert (found["level"], found["cause"]) == (level, cause), found
    assert said in found["why"]
    if cause == "part unused":
        assert "v_proj" in found["found"]
        assert "q_proj" not in found["found"]
    if cause == "scaled":
        assert "at 2 times the strength" in found["found"]


def test_the_gate_stops_a_run_whose_engine_is_not_synced(broken: dict[str, Any]) -> None:
    assert broken["stopped_by"].startswith("before step 1: vLLM (colocate) does not use what is trained")
    assert "--use_vllm false" in broken["stopped_by"]


def test_held_out_problems_are_measured_as_without_vllm(run: tuple[Path, harness.Result]) -> None:
    without = json.loads(BASELINE.read_text())["runs"][0]
    summary = harness.summary(run[0])
    assert {name: summary["before"][name] for name in without["before"]} == without["before"]
    assert summary["after"]["n"] == summary["before"]["n"]
    assert summary["after"]["mean_tokens"] != summary["before"]["mean_tokens"], "measured with the old weights"


def test_nothing_is_printed_that_a_user_cannot_act_on(run: tuple[Path, harness.Result]) -> None:
    lines = [line for line in run[1].error_lines() if "NUMA binding" not in line]
    assert lines == []


def test_each_setting_of_the_engine_is_still_needed(broken: dict[str, Any]) -> None:
    """One that is not has met its removal condition in toolkit/compat/vllm.py."""
    without = broken["without"]
    assert without["nothing"] == {"dtype": "torch.float32", "random_state_kept": True}
    assert "has no attribute 'weight_loader'" in without["plain weights"]["sync"]
    assert without["engine arguments"] == {"dtype": "torch.bfloat16", "random_state_kept": False}


def test_what_is_compiled_by_a_decorator_still_asks_the_platform_for_its_compiler() -> None:
    vllm = importlib.util.find_spec("vllm")
    assert vllm is not None
    for file in ("logprobs.py", "topk_topp_sampler.py"):
        source = (Path(str(vllm.origin)).parent / "v1" / "sample" / "ops" / file).read_text()
        assert "backend=current_platform.simple_compile_backend)" in source, file


def test_a_resumed_run_goes_on_bit_for_bit(run: tuple[Path, harness.Result]) -> None:
    """The engine starts from the base again, and gets the adapter of the checkpoint before its first rollout."""
    whole = harness.metrics(run[0])
    adapter = (run[0] / "adapter" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(run[0] / "checkpoints" / "checkpoint-4")
    again = harness.run("--resume", run[0])
    assert again.returncode == 0, again.stderr
    assert "resuming after step 2 of 4" in again.stdout
    assert learnt(harness.metrics(run[0])) == learnt(whole)
    assert (run[0] / "adapter" / "adapter_model.safetensors").read_bytes() == adapter


def learnt(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without clocks, and without those of the gate, which checks anew when a run is resumed."""
    return [{k: v for k, v in row.items() if not is_volatile(k) and not k.startswith("parity/")} for row in rows]
