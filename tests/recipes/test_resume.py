"""A run that was killed or stopped and resumed is the run that was never stopped."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.recipes import harness
from toolkit.runs.metrics import is_volatile


def write_problems(path: Path, n: int) -> Path:
    rows = [
        {"question": f"Tom has {i} pens. He buys {i + 2} more. How many?", "answer": str(2 * i + 2)} for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stable_metrics(folder: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if not is_volatile(k)} for row in harness.metrics(folder)]


def kill_after_step(folder: Path, step: int, *args: str | Path) -> None:
    process = harness.start(*args, "--output_dir", folder)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        log = folder / "metrics.jsonl"
        if log.exists() and len(log.read_text().splitlines()) >= step:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, output


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> tuple[str | Path, ...]:
    # 10 rows less 2 held out, 2 prompts a step: the second epoch starts after step 4, so steps 5-9 prove its order
    data = write_problems(tmp_path_factory.mktemp("data") / "problems.jsonl", 10)
    return (
        "--model", "embedded", "--dataset", data, "--max_steps", "9", "--save_steps", "2", "--beta", "0.02",
        *harness.QUICK, "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2",
        "--lr_scheduler_type", "cosine",
    )  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(arguments: tuple[str | Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = harness.run(*arguments, "--output_dir", folder)
    assert done.returncode == 0, done.stderr
    return folder


def assert_same_run(resumed: Path, whole: Path) -> None:
    assert stable_metrics(resumed) == stable_metrics(whole)
    ours, theirs = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (resumed, whole))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)
    for key in ("before", "after", "difference", "steps", "seed"):
        assert harness.summary(resumed)[key] == harness.summary(whole)[key]


def test_killed_run_resumes_to_the_same_metrics_and_weights(
    arguments: tuple[str | Path, ...], uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    kill_after_step(folder, 7, *arguments)
    assert not (folder / "summary.json").exists()
    done = harness.run("--resume", folder)
    assert done.returncode == 0, done.stderr
    assert "resuming after step 6 of 9" in done.stdout
    assert_same_run(folder, uninterrupted)


def test_ctrl_c_saves_and_prints_the_command_that_continues(
    arguments: tuple[str | Path, ...], uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    process = harness.start(*arguments, "--save_steps", "100", "--output_dir", folder)  # so that only the stop saves
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 3/9"):
            process.send_signal(signal.SIGINT)
            break
    output = process.stdout.read()
    assert process.wait(timeout=60) == 130, output
    assert f"--resume {folder}" in output
    assert "Traceback" not in output
    n_done = len(harness.metrics(folder))
    assert n_done < 9
    assert (folder / "checkpoints" / f"checkpoint-{n_done}" / "trainer_state.json").exists()
    assert harness.run("--resume", folder).returncode == 0
    assert_same_run(folder, uninterrupted)


def test_a_checkpoint_cut_off_while_it_was_written_is_passed_over(
    arguments: tuple[str | Path, ...], uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "torn"
    kill_after_step(folder, 7, *arguments)
    (folder / "checkpoints" / "checkpoint-6" / "trainer_state.json").write_text('{"global_st')
    done = harness.run("--resume", folder)
    assert "resuming after step 4 of 9" in done.stdout, done.stderr
    assert_same_run(folder, uninterrupted)


def test_a_run_that_was_killed_after_its_last_step_is_only_measured_and_saved(
    arguments: tuple[str | Path, ...], uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "done"
    shutil.copytree(uninterrupted, folder)
    shutil.rmtree(folder / "adapter")
    (folder / "summary.json").unlink()
    done = harness.run("--resume", folder)
    assert done.returncode == 0, done.stderr
    assert_same_run(folder, uninterrupted)
    assert len(harness.metrics(folder)) == 9
    fewer = harness.run("--resume", folder, "--max_steps", "5")
    assert fewer.returncode == 2
    assert "--max_steps 5, and step 9 is done" in fewer.stderr


def test_a_4bit_run_resumes_to_the_same_metrics_weights_and_type(tmp_path: Path) -> None:
    arguments = ("--load_in_4bit", "--max_steps", "5", "--save_steps", "2", *harness.QUICK)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert harness.run(*arguments, "--output_dir", whole).returncode == 0
    kill_after_step(killed, 3, *arguments)
    assert harness.run("--resume", killed).returncode == 0
    assert stable_metrics(killed) == stable_metrics(whole)
    files = [(folder / "adapter" / "adapter_model.safetensors").read_bytes() for folder in (killed, whole)]
    assert files[0] == files[1]


def test_a_resumed_run_asks_as_it_began_though_the_files_are_gone(tmp_path: Path) -> None:
    system, examples = tmp_path / "system.txt", write_problems(tmp_path / "examples.jsonl", 1)
    system.write_text("--- Rules\n{style}\n")
    examples.write_text(json.dumps({"question": "Tom has 2 pens.", "reasoning": "2=2", "answer": "2"}))
    flags = ("--system_prompt", system, "--examples", examples, "--prompt_style", "r1", *harness.QUICK)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert harness.run(*flags, "--max_steps", "2", "--output_dir", whole).returncode == 0
    assert harness.run(*flags, "--max_steps", "1", "--output_dir", resumed).returncode == 0
    system.write_text("Something else.")
    examples.unlink()
    done = harness.run("--resume", resumed, "--max_steps", "2")
    assert done.returncode == 0, done.stderr
    assert "prompt: the given system message with style r1 in it, 1 example as turns" in done.stdout
    prompts = [harness.completions(folder, "step_00002") for folder in (whole, resumed)]
    assert harness.metrics(resumed)[1]["rewards/format/mean"] == harness.metrics(whole)[1]["rewards/format/mean"]
    assert prompts[0] == prompts[1]
