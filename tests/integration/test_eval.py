"""`toolkit eval` on a run that really trained, for a step: the run's own figures again, kills, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.recipes import harness
from toolkit.backends.base import Generation, Sampling
from toolkit.backends.shared import InThisProcess
from toolkit.cli import main
from toolkit.compat import environment
from toolkit.evaluation import canary
from toolkit.launch import open_policy

N_EVAL = 130  # three batches


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step of the flagship."""
    folder = tmp_path_factory.mktemp("eval") / "run"
    asked = ("--per_device_train_batch_size", "16", "--max_steps", "1", "--learning_rate", "0.02")
    done = harness.run("--model", "embedded", *asked, "--n_eval", str(N_EVAL), "--output_dir", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process have loaded torch."""
    monkeypatch.setattr(environment, "MUST_COME_FIRST", ())


def evaluate(capsys: pytest.CaptureFixture[str], *args: str | Path) -> dict[str, Any]:
    assert main(["eval", *map(str, args), "--json", "--canary", "False"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_is_measured_as_it_measured_itself(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = evaluate(capsys, trained, "--by", "steps", "--output_dir", "e")
    after = harness.summary(trained)["after"]
    assert {name: found["greedy"][name] for name in after} == after
    assert [group["n"] for group in found["by"]["groups"]] != []
    assert sum(group["n"] for group in found["by"]["groups"]) == found["greedy"]["n"] == N_EVAL
    assert found["filters"]["lm_eval_flexible"]["pass_at_1"] >= after["pass_at_1"]  # it takes any last number
    assert json.loads(Path("e/evaluation.json").read_text())["greedy"] == found["greedy"]

    def no_more(*_: Any) -> None:
        raise AssertionError("sampled again")

    monkeypatch.setattr(InThisProcess, "generate", no_more)
    other = evaluate(capsys, trained, "--reward", "correct_any,format", "--output_dir", "e")
    assert other["measured_by"] == "correct_any"
    assert other["greedy"]["mean_tokens"] == found["greedy"]["mean_tokens"]
    of_adapter = evaluate(capsys, trained / "adapter", "--output_dir", "e")
    assert of_adapter["greedy"] == found["greedy"]


def test_a_killed_evaluation_goes_on_where_it_was(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = tmp_path / "e", ("--n_samples", "2", "--seed", "3")
    command = [sys.executable, "-m", "toolkit", "eval", str(trained), *asked, "--output_dir", str(folder)]
    process = subprocess.Popen(command, cwd=harness.ROOT, env=harness.environment(), stdout=subprocess.DEVNULL)
    journal = folder / "completions" / "sampled.part"
    try:
        while not journal.exists() or len(journal.read_bytes().split(b"\n")) < 4:  # the key, two batches, an empty end
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = journal.read_bytes().split(b"\n")[1:-1]
    n_kept = sum(len(json.loads(line)[0]) for line in kept)
    assert 64 < n_kept < 2 * N_EVAL
    asked_for: list[int] = []
    generate = InThisProcess.generate

    def counted(self: Any, policy: Any, prompts: Sequence[Any], sampling: Sampling) -> list[Generation]:
        asked_for.append(len(prompts))
        return generate(self, policy, prompts, sampling)

    monkeypatch.setattr(InThisProcess, "generate", counted)
    found = evaluate(capsys, trained, *asked, "--output_dir", folder)
    assert sum(asked_for) == 2 * N_EVAL - n_kept
    assert not journal.exists()
    whole = evaluate(capsys, trained, *asked, "--output_dir", tmp_path / "whole")
    assert (whole["greedy"], whole["sampled"]) == (found["greedy"], found["sampled"])
    assert 0 < whole["sampled"]["pass_at_k"]["1"]["value"] < whole["sampled"]["pass_at_k"]["2"]["value"]


def test_hidden_problems_are_held_against_those_that_were_trained_on(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(capsys, trained, "--split", "hidden", "--n_eval", "20", "--output_dir", tmp_path / "e")
    assert (found["split"], found["greedy"]["n"]) == ("hidden", 20)
    assert found["gap"]["trained"]["n"] == 2  # the prompts of the one step
    assert [finding["name"] for finding in found["findings"]] == ["memorised"]


def test_a_model_that_was_damaged_is_told_to_forget(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_policy(str(trained))
    policy = opened.load()
    unknown = canary.compare(policy)  # this model has never seen prose
    finding = canary.finding(unknown)
    assert finding is not None
    assert (finding.level, "knows nothing" in finding.found) == ("info", True)

    told = [{"role": "assistant", "content": "<reasoning>\n3+11=14\n14+5=19\n</reasoning>\n<answer>\n19\n</answer>"}]
    asked = opened.messages("Ana has 3 eggs. She buys 11 more. She finds 5 more. How many eggs does Ana have now?")
    known = policy.tokenizer.apply_chat_template([*asked, *told], tokenize=False)
    monkeypatch.setattr(canary, "passages", lambda: [known] * 3)
    large = {"n_vocabulary": 10**6}  # it learnt answers alone, so that its questions are prose to it
    found = canary.compare(policy)
    finding = canary.finding(found | large | {"rise": 0.0, "interval": (-0.01, 0.01)})
    assert finding is not None
    assert finding.level == "green"
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            weight.data += 3.0
    worse = canary.compare(policy)
    assert worse["before"] == found["before"]
    assert worse["after"] > 1.5 * worse["before"]
    finding = canary.finding(worse | large)
    assert finding is not None
    assert (finding.level, "forgets" in finding.found) == ("amber", True)


def with_another_tokenizer(adapter: Path) -> None:
    path = adapter / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["0"], vocabulary["1"] = vocabulary["1"], vocabulary["0"]
    path.write_text(json.dumps(tokenizer))


def with_other_shapes(adapter: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    save_file({name: weight[..., :-1].contiguous() for name, weight in load_file(path).items()}, path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [(with_another_tokenizer, "with a tokenizer of"), (with_other_shapes, "does not fit")],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_adapter_of_another_base_is_refused(
    damage: Any, said: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "adapter", tmp_path / "adapter")
    damage(tmp_path / "adapter")
    args = [str(tmp_path / "adapter"), "--base", "embedded", "--n_eval", "4", "--output_dir", str(tmp_path / "e")]
    assert main(["eval", *args, "--json"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, len(shown.err.splitlines())) == ("", 1)
    assert said in shown.err
    assert not (tmp_path / "e").exists()


def recipe(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "recipes/evaluate.py", *map(str, args)]
    return subprocess.run(
        command, cwd=harness.ROOT, env=harness.environment(), capture_output=True, text=True, check=False
    )


def test_the_recipe_is_the_same_measurement(trained: Path, tmp_path: Path) -> None:
    done = recipe(trained, "--n_eval", "8", "--output_dir", tmp_path / "e")
    assert done.returncode == 0, done.stderr
    assert "lm-eval flexible" in done.stdout
    assert "general ability" in done.stdout
    refused = recipe("no-such-model", "--k", "3")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
