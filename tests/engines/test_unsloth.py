"""Real Unsloth in its CPU mode, through this project's backend: 4-bit, LoRA, GRPO, save and reload.

Not covered here: patched kernels and vLLM rollouts need a CUDA device.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.recipes import harness
from toolkit.compat import compiled_cache
from toolkit.settings import ALL_LINEAR

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, harness.Result]:
    folder = tmp_path_factory.mktemp("unsloth") / "run"
    result = harness.run(
        "--backend", "unsloth", "--load_in_4bit", "--max_steps", "4", "--save", "merged_16bit", "--output_dir", folder,
        "--n_eval", "32", "--per_device_train_batch_size", "32", "--optim", "adamw_8bit", "--parity", "on",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result


def test_the_base_is_nf4_by_layer_type(run: tuple[Path, harness.Result]) -> None:
    assert "4-bit: 14 NF4 layers" in run[1].stdout


def test_the_reason_says_that_it_is_the_cpu_mode(run: tuple[Path, harness.Result]) -> None:
    first = run[1].stdout.splitlines()[0]
    assert first.startswith("embedded on the unsloth backend")
    assert "in its CPU mode" in first


def test_what_unsloth_changed_is_said(run: tuple[Path, harness.Result]) -> None:
    changed = [line for line in run[1].stdout.splitlines() if line.startswith("setting changed")]
    assert changed == ["setting changed: optim: asked adamw_8bit, in effect adamw_torch_fused"]


def test_the_rollouts_of_trls_trainer_use_the_trained_weights(run: tuple[Path, harness.Result]) -> None:
    assert_parity_is_green(run[0])


def assert_parity_is_green(folder: Path) -> None:
    """Before step 1, each of the seven projections by itself and all together."""
    (check,) = json.loads((folder / "parity.json").read_text())["checks"]
    assert (check["step"], check["finding"]["level"]) == (1, "green"), check
    parts = {probe["part"] for probe in check["probes"] if probe["applied"] is not None}
    assert {*ALL_LINEAR, "all"} <= parts


def test_every_adapter_learns(run: tuple[Path, harness.Result]) -> None:
    with safe_open(run[0] / "adapter" / "adapter_model.safetensors", "pt") as file:
        moved = {n: float(file.get_tensor(n).float().abs().max()) for n in file.keys() if "lora_B" in n}  # noqa: SIM118
    assert len(moved) == 14
    assert min(moved.values()) > 1e-4, moved


def distances(folder: Path) -> dict[str, Any]:
    """What merge_round_trip.py finds in another process: the saved folders meet plain transformers and PEFT only."""
    command = [sys.executable, "-m", "tests.engines.merge_round_trip", folder / "adapter", folder / "merged_16bit"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=harness.ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_merge_of_a_4_bit_run_is_base_plus_adapter_within_three_roundings(run: tuple[Path, harness.Result]) -> None:
    """By our own merge into a fresh base in bfloat16: base, update and sum are each rounded once."""
    found = distances(run[0])
    assert found["base"] > 1.5 * found["once"], "the adapter changes nothing, so this test would prove nothing"
    assert found["of_bound"] <= 1
    assert found["merged"] <= 3 * found["once"]
    assert_safetensors_with_tokenizer(run[0] / "merged_16bit")


def test_unsloths_own_merge_of_a_16_bit_run_is_rounded_once(tmp_path: Path) -> None:
    """By the call that a card makes, too; Unsloth's CPU mode merges in float32."""
    result = harness.run(
        "--backend", "unsloth", "--load_in_4bit", "false", "--max_steps", "3", "--save", "merged_16bit",
        "--output_dir", tmp_path / "run", "--n_eval", "16", "--per_device_train_batch_size", "32",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    found = distances(tmp_path / "run")
    assert found["base"] > 1.5 * found["once"], "the adapter changes nothing, so this test would prove nothing"
    assert found["same_as_once"]
    assert_safetensors_with_tokenizer(tmp_path / "run" / "merged_16bit")


def assert_safetensors_with_tokenizer(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]


def test_a_killed_run_could_resume(run: tuple[Path, harness.Result]) -> None:
    assert (run[0] / "checkpoints" / "checkpoint-4" / "trainer_state.json").exists()
    again = harness.run("--resume", run[0], "--max_steps", "5")
    assert again.returncode == 0, again.stderr
    assert [row["step"] for row in harness.metrics(run[0])] == [1, 2, 3, 4, 5]


@dataclass
class Generated:
    """A run with the trainer that Unsloth generates, over a cache in which another release left a file."""

    folder: Path
    result: dict[str, Any]
    lines: list[str]
    cache: Path


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    folder, cache = tmp_path_factory.mktemp("generated") / "run", tmp_path_factory.mktemp("compiled_cache")
    now = compiled_cache.versions_now()
    versions = [now["unsloth_zoo"], "2026.9.1", now["transformers"], now["trl"]]
    head = "\n".join(['"""', *versions, "__UNSLOTH_VERSIONING__", '"""'])
    (cache / "UnslothGRPOTrainer.py").write_text(f"{head}\nraise RuntimeError('made by another release')\n")
    command = [sys.executable, Path(__file__).parent / "rewritten_trainer.py", folder]
    command += ["--per_device_train_batch_size", "16", "--grpo.loss_type", "dapo", "--parity", "on"]
    # OVERWRITE=0: the one way in which this release uses what another one generated
    environment = os.environ | {"UNSLOTH_COMPILE_LOCATION": str(cache), "UNSLOTH_COMPILE_OVERWRITE": "0"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=harness.ROOT, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return Generated(folder, json.loads(lines[-1].removeprefix("RESULT ")), lines, cache)


def test_the_trainer_that_unsloth_generates_trains_through_our_assembly(generated: Generated) -> None:
    result = generated.result
    assert result["trainer"] == "UnslothGRPOTrainer"
    assert (result["steps"], result["completions"]) == (3, 3)
    assert result["n_moved"] == 28
    rows = harness.metrics(generated.folder)
    assert all(row["time/rollout_s"] > 0 and row["time/reward_s"] > 0 for row in rows)


def test_the_rollouts_of_the_generated_trainer_use_the_trained_weights(generated: Generated) -> None:
    assert_parity_is_green(generated.folder)


def test_code_that_another_release_generated_is_not_used(generated: Generated) -> None:
    path = generated.cache / "UnslothGRPOTrainer.py"
    assert generated.result["generated"] == str(path), "not generated into UNSLOTH_COMPILE_LOCATION"
    now = compiled_cache.versions_now()
    assert compiled_cache.made_with(path) == {name: now[name] for name in compiled_cache.IN_HEAD}
    assert json.loads((generated.cache / compiled_cache.STAMP).read_text()) == now
    assert generated.result["notes"] == [f"compiled cache: 1 file of other versions removed from {generated.cache}"]


def test_what_its_defaults_change_is_said_before_the_first_step(generated: Generated) -> None:
    first_step = next(i for i, line in enumerate(generated.lines) if line.startswith("step 1"))
    said = [line for line in generated.lines[:first_step] if line.startswith(("setting changed", "not asked for"))]
    assert said == [
        # float32 on a CPU; a card's run asks for one of the two itself
        "setting changed: fp16: asked False, in effect True",
        "not asked for, set by Unsloth: weight_decay 0.001 (TRL: 0.0), epsilon_high 0.28 (TRL: None), "
        "mask_truncated_completions True (TRL: False)",
    ]
    kept = {row["name"]: (row["of_trl"], row["effective"]) for row in generated.result["settings"]["engine_defaults"]}
    assert kept["mask_truncated_completions"] == (False, True)
    assert kept["vllm_importance_sampling_correction"] == (True, False), "kept, though this run has no vLLM"
    assert generated.result["settings"]["effective"]["loss_type"] == "dapo"


def test_a_batch_that_unsloth_raises_is_said(generated: Generated) -> None:
    assert "per_device_train_batch_size: asked 4, in effect 8" in generated.result["of_uneven"]


def test_the_copies_that_unsloth_loads_are_known_before_it_is_imported(generated: Generated) -> None:
    assert len(generated.result["copies"]) == 10
    for ours, theirs in generated.result["copies"]:
        assert ours == theirs


def test_trl_before_unsloth_is_refused() -> None:
    code = "import trl; from toolkit.backends.unsloth import _import_unsloth; _import_unsloth()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "trl was imported before unsloth" in done.stderr
