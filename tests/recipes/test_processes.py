"""More than one process, on a CPU over gloo: the same training as one, one record, one voice, and an end for all."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.numpy import load_file

from tests.recipes import harness

KNOWN = Path(__file__).parent / "known_completions.py"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2")  # one process, on a CPU
ALONE = (sys.executable,)
ENDS_WITHIN_S = 60  # the launcher itself gives a process 30 s before it kills it


def start(launcher: tuple[str, ...], script: Path, *args: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*launcher, str(script), *map(str, args)], cwd=harness.ROOT, env=harness.environment(OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def run(launcher: tuple[str, ...], script: Path, *args: str | Path) -> tuple[int, str]:
    process = start(launcher, script, *args)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith(text):
            return seen
    raise AssertionError(seen)


def completions(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.stem: harness.completions(folder, path.stem) for path in sorted((folder / "completions").iterdir())}


def test_two_processes_train_as_one_does_and_so_do_two_that_were_stopped_and_resumed(tmp_path: Path) -> None:
    """Groups of 8 in shares of 12: one group lies across the two processes. Three rows held out: uneven shares."""
    one, two = tmp_path / "one", tmp_path / "two"
    arguments = (
        "--model", "embedded", "--max_steps", "12", "--save_steps", "100", "--n_eval", "3", "--warmup_steps", "0",
        "--gradient_accumulation_steps", "2", "--per_device_train_batch_size",
    )  # fmt: skip
    code, output = run(ALONE, KNOWN, *arguments, "12", "--output_dir", one)
    assert code == 0, output
    process = start(TORCHRUN, KNOWN, *arguments, "6", "--output_dir", two)
    read_until(process, "step 2/12")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode != 0
    assert output.count("continue, by the same launcher, with:") == output.count("which is saved") == 1
    assert 2 <= len(harness.metrics(two)) < 12
    code, output = run(ALONE, KNOWN, "--resume", two)
    assert code == 2
    assert f"--resume {two} with 1 process; wanted 2, as it began" in output
    code, output = run(TORCHRUN, KNOWN, "--resume", two)
    assert code == 0, output

    assert completions(two) == completions(one)  # the same prompts in the same groups, judged the same
    for ours, theirs in zip(harness.metrics(two), harness.metrics(one), strict=True):
        for key in ("reward", "reward_std", "learning_rate", "groups/zero_std_frac", "completions/mean_length"):
            assert ours[key] == theirs[key], key
        # Sums of the same 24 gradients in another order: 24 roundings of 6e-8 are 1.4e-6 of the largest term
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=2e-5)
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-6)
    # Adam divides by a gradient's size, so that where it is near zero its rounding counts in full: hence not 2e-5
    ours, theirs = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (two, one))
    moved = sum(float((weights**2).sum()) for name, weights in theirs.items() if "lora_B" in name) ** 0.5
    apart = sum(float(((ours[name] - weights) ** 2).sum()) for name, weights in theirs.items()) ** 0.5
    assert moved > 1
    assert apart < 2e-3 * moved
    assert harness.summary(two)["before"] == harness.summary(one)["before"]


def test_a_run_of_two_processes_leaves_one_record_and_speaks_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ("--max_steps", "2", "--n_eval", "6", "--per_device_train_batch_size", "12")
    code, output = run(ACCELERATE, harness.GSM8K_R1, *arguments, "--output_dir", folder)
    assert code == 0, output
    assert output.count("torchrun starts the 2 that were asked for") == output.count("; 2 processes\n") == 1
    assert [line.partition(" ")[0] for line in output.splitlines() if line.startswith("step ")] == ["step", "step"]
    assert output.count(" result ") == output.count("measuring before") == 1
    assert "Warning" not in output
    assert list(tmp_path.iterdir()) == [folder]
    assert [row["step"] for row in harness.metrics(folder)] == [1, 2]
    assert json.loads((folder / "environment.json").read_text())["world_size"] == 2
    for row in harness.metrics(folder):
        rows = harness.completions(folder, f"step_{row['step']:05d}")
        assert [r["group"] for r in rows] == [i // 8 for i in range(24)]
        assert all(len({r["prompt"] for r in rows[i : i + 8]}) == 1 for i in range(0, 24, 8))
        assert len({r["prompt"] for r in rows}) == 3
        assert row["reward"] == pytest.approx(
            sum(r["rewards"]["correct"] + 0.25 * r["rewards"]["format"] for r in rows) / 24
        )
        tokens_per_s = sum(r["n_tokens"] for r in rows) / row["time/rollout_s"]
        assert row["rollout/tokens_per_s"] == pytest.approx(tokens_per_s)
    before = harness.completions(folder, "before")
    assert len({row["prompt"] for row in before}) == 6
    assert sum(row["correct"] for row in before) / 6 == harness.summary(folder)["before"]["pass_at_1"]


def test_when_one_process_is_killed_the_others_end_and_one_says_so(tmp_path: Path) -> None:
    process = start(TORCHRUN, harness.GSM8K_R1, "--output_dir", tmp_path / "run", *harness.QUICK)
    read_until(process, "step 1/40")
    workers = psutil.Process(process.pid).children()
    victim = next(worker for worker in workers if worker.environ()["RANK"] == "1")
    victim.kill()
    killed = time.monotonic()
    output, _ = process.communicate(timeout=ENDS_WITHIN_S)
    assert time.monotonic() - killed < ENDS_WITHIN_S
    assert process.returncode != 0
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    assert output.count(f"--resume {tmp_path / 'run'}") == 1, output


FAILS_IN_ONE = """
import sys
sys.path[:0] = [{root!r}, {recipes!r}]
import gsm8k_r1
from toolkit.machine import processes
from toolkit.launch import run_recipe
from toolkit.rewards import correct
from toolkit.training import Reward

def fails(completions, trainer_state, **columns):  # in training, not in the check before it
    if trainer_state.global_step == 0:
        return correct(completions, **columns)
    return [1 / (1 - processes.rank())] * len(completions)

gsm8k_r1.rewards = lambda settings: [Reward(correct), Reward(fails)]
run_recipe(gsm8k_r1.main, gsm8k_r1.Settings, gsm8k_r1.__file__)
"""


def ours(output: str) -> list[str]:
    """The lines of a failed run that are not the launcher's."""
    report = re.split(r"\n[WE]\d{4} |\nTraceback", output)[0]
    return [line for line in report.splitlines() if line.strip()]


def test_an_error_of_one_process_is_told_once_and_ends_all(tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(FAILS_IN_ONE.format(root=str(harness.ROOT), recipes=str(harness.ROOT / "recipes")))
    code, output = run(TORCHRUN, script, "--output_dir", tmp_path / "run", *harness.QUICK)
    assert code != 0
    assert ours(output)[-1].startswith("ZeroDivisionError: division by zero; the traceback is in")
    assert output.count("ZeroDivisionError") == 1
    assert "in fails" in (tmp_path / "run" / "error.log").read_text()


def test_bad_input_is_one_line_for_all_processes_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for arguments, said in (
        (("--num_generations", "7"), "2 processes = 128 completions a round; wanted a multiple of num_generations 7"),
        (("--output_dir", tmp_path), "holds files already"),  # found by the first process alone
        (("--backend", "unsloth"), "--backend unsloth with 2 processes; wanted --backend transformers"),
    ):
        code, output = run(TORCHRUN, harness.GSM8K_R1, *arguments)
        assert code != 0
        assert len(ours(output)) == 1, output
        assert said in output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_a_model_that_fsdp_has_split_completes_as_the_whole_one(tmp_path: Path) -> None:
    code, output = run(TORCHRUN, Path(__file__).parent / "split_model.py", tmp_path / "run")
    assert code == 0, output
    assert "the same 7 and 1" in output
