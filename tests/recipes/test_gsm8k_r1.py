"""The flagship, run as a user runs it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from statistics import fmean, stdev

import pytest
from safetensors import safe_open

from tests.recipes import harness
from toolkit.data import arithmetic

GSM8K = harness.ROOT.parent / "shared" / "data" / "gsm8k"

# Put on PYTHONPATH: writes every attempt to look up a name or to connect outside this process to $NETWORK_LOG
SPY = """
import os, socket
def spy(name):
    original = getattr(socket, name) if hasattr(socket, name) else getattr(socket.socket, name)
    def call(*args, **kwargs):
        with open(os.environ["NETWORK_LOG"], "a") as file:
            file.write(f"{name} {args[-1] if name == 'connect' else args[:2]}\\n")
        return original(*args, **kwargs)
    return call
socket.getaddrinfo = spy("getaddrinfo")
socket.socket.connect = spy("connect")
"""


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, harness.Result, str]:
    """`python recipes/gsm8k_r1.py` to its end, with every network attempt recorded."""
    folder = tmp_path_factory.mktemp("default")
    (folder / "sitecustomize.py").write_text(SPY)
    log = folder / "network.log"
    log.touch()
    result = harness.run("--output_dir", folder / "run", env={"PYTHONPATH": str(folder), "NETWORK_LOG": str(log)})
    assert result.returncode == 0, result.stderr
    return folder / "run", result, log.read_text()


def test_it_learns(default_run: tuple[Path, harness.Result, str]) -> None:
    summary = harness.summary(default_run[0])
    assert summary["before"]["pass_at_1"] <= 0.35
    assert summary["after"]["pass_at_1"] >= 0.60
    assert summary["before"]["n"] == summary["after"]["n"] == 256
    assert summary["difference"]["interval"][0] > 0.2
    assert (summary["steps"], summary["seed"], summary["backend"], summary["model"]) == (
        40,
        0,
        "transformers",
        "embedded",
    )


def test_no_network_call_is_attempted(default_run: tuple[Path, harness.Result, str], tmp_path: Path) -> None:
    assert default_run[2] == ""


def test_the_spy_sees_a_call(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "sitecustomize.py").write_text(SPY)
    env = harness.environment(PYTHONPATH=str(tmp_path), NETWORK_LOG=str(tmp_path / "log"))
    code = "import urllib.request as u\ntry: u.urlopen('http://127.0.0.1:9')\nexcept OSError: pass"
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert "connect ('127.0.0.1', 9)" in (tmp_path / "log").read_text()


def test_the_first_line_says_what_was_chosen_and_why(default_run: tuple[Path, harness.Result, str]) -> None:
    first = default_run[1].stdout.splitlines()[0]
    assert first == (
        "embedded on the transformers backend; config embedded.yaml: CUDA_VISIBLE_DEVICES hides every device"
    )


def test_plain_lines_without_a_terminal(default_run: tuple[Path, harness.Result, str]) -> None:
    out, err = default_run[1].stdout, default_run[1].stderr
    assert "\x1b" not in out + err
    assert err == ""
    assert sum(line.startswith("step ") for line in out.splitlines()) == 40
    assert "95% interval" in out
    assert 0 < out.index("\nbefore: pass@1 ") < out.index("\nstep 1/40")
    assert "format rate" in out.partition("result")[2]


def test_everything_is_recorded(default_run: tuple[Path, harness.Result, str]) -> None:
    folder = default_run[0]
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["requested"]["num_generations"] == settings["effective"]["num_generations"] == 8
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["trl"]
    assert environment["attention"] == {"training": "sdpa", "rollouts": "generate"}
    rows = harness.metrics(folder)
    assert [row["step"] for row in rows] == list(range(1, 41))
    for key in ("rewards/correct/mean", "rewards/format/mean", "completions/clipped_ratio", "time/rollout_s"):
        assert all(row[key] is not None for row in rows), key
    for row in rows:
        parts = row["time/rollout_s"] + row["time/reward_s"] + row["time/update_s"]
        assert parts == pytest.approx(row["time/step_s"])
    completions = harness.completions(folder, "step_00040")
    assert len(completions) == 64
    after = harness.completions(folder, "after")
    assert sum(row["correct"] for row in after) / 256 == harness.summary(folder)["after"]["pass_at_1"]
    figures = harness.summary(folder)["after"]
    assert figures["rewards"]["correct"]["mean"] == figures["pass_at_1"]
    assert figures["rewards"]["correct"]["interval"] == figures["interval"]
    assert figures["rewards"]["format"]["mean"] == figures["format_frac"]
    assert figures["format_frac"] == sum(row["rewards"]["format"] for row in after) / 256
    mean = sum(row["rewards"]["correct"] for row in completions) / 64
    assert mean == pytest.approx(rows[-1]["rewards/correct/mean"])
    totals = [row["rewards"]["correct"] + 0.25 * row["rewards"]["format"] for row in completions]
    assert [row["reward"] for row in completions] == pytest.approx(totals)
    assert (rows[-1]["reward/best"], rows[-1]["reward/worst"]) == (max(totals), min(totals))
    for i in range(0, 64, 8):  # TRL's advantage: within the group, in standard deviations
        group = totals[i : i + 8]
        expected = [(total - fmean(group)) / (stdev(group) + 1e-4) for total in group]
        assert [row["advantage"] for row in completions[i : i + 8]] == pytest.approx(expected, abs=1e-4)
    with safe_open(folder / "adapter" / "adapter_model.safetensors", "numpy") as file:
        assert len(list(file.keys())) == 2 * 7 * 2  # two layers, seven projections, A and B
    assert not (folder / "run.lock").exists()
    last = default_run[1].stdout.splitlines()[-4:]
    assert last[0] == f"open:     {folder / 'report.html'}"
    assert last[1].startswith(f"look:     toolkit runs completions {folder}")
    assert last[2:] == [f"evaluate: toolkit eval {folder}", f"chat:     toolkit chat {folder}"]
    assert "Before and after" in (folder / "report.html").read_text()


def test_held_out_problems_were_not_trained_on(default_run: tuple[Path, harness.Result, str]) -> None:
    trained = {
        row["prompt"]
        for path in (default_run[0] / "completions").glob("step_*.parquet")
        for row in harness.completions(default_run[0], path.stem)
    }
    problems = arithmetic.load(4096, 256, seed=0)
    assert len(trained) > 300
    assert trained.isdisjoint(row["question"] for row in problems.held_out)
    assert trained <= {row["question"] for row in problems.train}


def test_the_merged_model_answers_as_the_adapter_does(
    default_run: tuple[Path, harness.Result, str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(default_run[0], folder)
    done = harness.run("--resume", folder, "--save", "merged_16bit")
    assert done.returncode == 0, done.stderr
    assert harness.summary(folder)["saved"] == ["adapter", "merged_16bit"]
    again = harness.run(
        "--model",
        folder / "merged_16bit",
        "--config",
        "embedded",
        "--max_steps",
        "1",
        "--output_dir",
        tmp_path / "again",
    )
    assert again.returncode == 0, again.stderr
    trained = harness.summary(folder)["after"]["pass_at_1"]
    assert harness.summary(tmp_path / "again")["before"]["pass_at_1"] == pytest.approx(trained, abs=0.03)
    with safe_open(folder / "merged_16bit" / "model.safetensors", "pt") as file:
        assert {str(file.get_tensor(name).dtype) for name in file.keys()} == {"torch.bfloat16"}  # noqa: SIM118 (not a dict)


def test_4bit_trains_on_the_cpu(tmp_path: Path) -> None:
    done = harness.run("--load_in_4bit", "--max_steps", "2", "--output_dir", tmp_path / "run", *harness.QUICK)
    assert done.returncode == 0, done.stderr
    assert "4-bit: 14 NF4 layers" in done.stdout
    with safe_open(tmp_path / "run" / "adapter" / "adapter_model.safetensors", "pt") as file:
        moved = [float(file.get_tensor(name).abs().sum()) for name in file.keys() if "lora_B" in name]  # noqa: SIM118
    assert len(moved) == 14
    assert all(moved)


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K files are not beside the repository")
def test_real_gsm8k_loads_is_cut_to_the_budget_and_trains(tmp_path: Path) -> None:
    done = harness.run(
        "--model", "embedded", "--dataset", GSM8K / "train.jsonl", "--max_prompt_length", "200", "--max_steps", "2",
        "--output_dir", tmp_path / "run", *harness.QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "7,473 rows read" in done.stdout
    assert "training prompts dropped: longer than 200 tokens" in done.stdout
    assert len(harness.metrics(tmp_path / "run")) == 2


def cache_gsm8k(hf_home: Path, n_train: int, n_test: int) -> None:
    """Write tables as `load_dataset("openai/gsm8k", "main")` leaves them in its cache, which it reads offline."""
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo, Value
    from datasets.arrow_writer import ArrowWriter

    folder = hf_home / "datasets" / "openai___gsm8k" / "main" / "0.0.0" / ("0" * 40)
    folder.mkdir(parents=True)
    splits = SplitDict(dataset_name="gsm8k")
    for split, n in (("train", n_train), ("test", n_test)):
        with ArrowWriter(path=str(folder / f"gsm8k-{split}.arrow")) as writer:
            for i in range(n):
                writer.write(
                    {"question": f"In {split}, what is {i} plus 1?", "answer": f"<<{i}+1={i + 1}>>\n#### {i + 1}"}
                )
            writer.finalize()
        splits.add(SplitInfo(split, num_examples=n, dataset_name="gsm8k"))
    features = Features({"question": Value("string"), "answer": Value("string")})
    info = DatasetInfo(
        features=features, splits=splits, config_name="main", dataset_name="gsm8k", builder_name="parquet"
    )
    info.write_to_directory(str(folder))


def test_gsm8k_from_the_cache_is_measured_on_its_test_split(tmp_path: Path) -> None:
    cache_gsm8k(tmp_path / "hf", n_train=24, n_test=20)
    done = harness.run(
        "--model", "embedded", "--dataset", "openai/gsm8k", "--max_steps", "1", "--output_dir", tmp_path / "run",
        *harness.QUICK, env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "24 training rows, 16 held out of its test split" in done.stdout
    measured, trained = (harness.completions(tmp_path / "run", name) for name in ("before", "step_00001"))
    assert all(row["prompt"].startswith("In test") for row in measured)
    assert all(row["prompt"].startswith("In train") for row in trained)
    for row in (*measured, *trained):  # the gold answer is what follows ####
        assert int(row["answer"]) == int(row["prompt"].split()[4]) + 1


def test_flags_reach_the_trainer_and_every_difference_is_said(tmp_path: Path) -> None:
    done = harness.run(
        "--grpo.loss_type", "dr_grpo", "--grpo.scale_rewards", "none", "--optim", "adamw_8bit", "--max_steps", "1",
        "--grpo.generation_kwargs", '{"top_p": 0.9}', "--gpu_memory_utilization", "0.6",
        "--output_dir", tmp_path / "run", *harness.QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["effective"]["loss_type"] == "dr_grpo"
    said = done.stdout.partition("training\n")[2].splitlines()
    assert said[:2] == [
        "setting changed: optim: asked adamw_8bit, in effect adamw_torch",
        "no effect without vLLM, which this run does not use: gpu_memory_utilization 0.6",
    ]
    assert said[2].startswith("sampling with top_p 0.9: completions come from another distribution")
    assert said[3].startswith("step 1/1")


def test_a_config_that_names_no_model_is_laid_over_what_the_machine_would_get(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("max_steps: 1\nn_eval: 16\nper_device_train_batch_size: 16\n")
    done = harness.run("--config", tmp_path / "mine.yaml", "--output_dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("embedded on the transformers backend; config embedded.yaml:")
    assert harness.summary(tmp_path / "run")["before"]["n"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_learns_with_other_seeds(seed: int, tmp_path: Path) -> None:
    assert harness.run("--seed", str(seed), "--output_dir", tmp_path / "run").returncode == 0
    summary = harness.summary(tmp_path / "run")
    assert summary["before"]["pass_at_1"] <= 0.35
    assert summary["after"]["pass_at_1"] >= 0.60
