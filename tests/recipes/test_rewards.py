"""Rewards by flag, as a user gives them: files, a rubric and a server, with weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recipes import harness
from tests.servers import Given, serving

OWN = '''
def brevity(completions, **kwargs):
    """Up to 0 for nothing at all."""
    return [-len(completion[0]["content"]) / 100 for completion in completions]
'''
TOLD = """
def truncated(completions, finish_reason, **kwargs):
    return [float(reason == "length") for reason in finish_reason]
"""
RUBRIC = """
name: steps
required:
  elements:
    - {name: reasoning, any_of: ["<reasoning>"]}
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server that says whether the gold answer stands in the completion; it asks for a password."""

    def answer(path: str, headers: dict[str, str], body: Any) -> Given:
        scores = [float(f"<answer>\n{row['answer']}\n" in row["completion"]) for row in body["rows"]]
        return 200 if headers.get("authorization") else 401, json.dumps({"scores": scores}).encode(), {}

    with serving(answer) as address:
        yield address.replace("http://", "http://me:hush@") + "/right"


def test_own_rewards_a_rubric_and_a_server_train_measure_and_resume(tmp_path: Path, address: str) -> None:
    own, rubric, folder = tmp_path / "own_rewards.py", tmp_path / "steps.yaml", tmp_path / "run"
    own.write_text(OWN)
    rubric.write_text(RUBRIC)
    asked = f"{address},{own}:brevity:0.2,rubric:{rubric}:0.5"
    env = {"NO_PROXY": "127.0.0.1"}
    done = harness.run(
        "--reward", asked, "--max_steps", "1", "--save_steps", "1", "--output_dir", folder, *harness.QUICK, env=env
    )
    assert done.returncode == 0, done.stderr
    shown = address.replace("me:hush", "***")
    in_words = f"1 x right ({shown}) + 0.2 x brevity ({own}:brevity) + 0.5 x steps (rubric:{rubric})"
    assert done.stdout.splitlines()[1] == f"rewards: {in_words}; measured by right"
    assert "brevity -0." in done.stdout
    summary = harness.summary(folder)
    assert (summary["rewards"], summary["measured_by"]) == (in_words, "right")
    assert summary["before"]["pass_at_1"] is not None
    row = harness.metrics(folder)[0]
    parts = [row[f"rewards/{name}/mean"] for name in ("right", "brevity", "steps")]
    assert row["reward"] == pytest.approx(parts[0] + 0.2 * parts[1] + 0.5 * parts[2], abs=1e-5)
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["requested"]["reward"] == asked.replace("me:hush", "***")
    assert [reward["weight"] for reward in settings["rewards"]] == [1.0, 0.2, 0.5]
    assert set(json.loads((folder / "reward_check.json").read_text())) == {"right", "brevity", "steps"}
    kept = [path for path in folder.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]
    assert kept == []

    refused = harness.run("--resume", folder, "--max_steps", "2", env=env)
    assert "give --reward again beside --resume" in refused.stderr
    own.write_text(OWN + "# another rule\n")
    again = harness.run("--resume", folder, "--max_steps", "2", "--reward", asked, env=env)
    assert again.returncode == 0, again.stderr
    assert f"{own} has changed since the steps before: from here on brevity may pay by other rules" in again.stdout
    assert len(harness.metrics(folder)) == 2


def test_a_reward_without_a_right_score_is_measured_by_its_mean(tmp_path: Path) -> None:
    own = tmp_path / "own_rewards.py"
    own.write_text(OWN + TOLD)
    rows = [{"question": f"How many is {i} and {i}? In words.", "answer": f"word {i}"} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = harness.run(
        "--reward", f"{own}:brevity,{own}:truncated", "--dataset", tmp_path / "rows.jsonl", "--max_steps", "1",
        "--max_completion_length", "16", "--allow_truncation", "--output_dir", tmp_path / "run", *harness.QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no pass@1: nothing says which score is right; --pass_score does" in done.stdout
    summary = harness.summary(tmp_path / "run")
    assert summary["before"]["pass_at_1"] is None
    assert summary["difference"] == {"value": None, "interval": None}
    assert summary["before"]["mean_score"] < 0
    row = harness.metrics(tmp_path / "run")[0]
    assert row["rewards/truncated/mean"] == row["completions/clipped_ratio"] > 0
    assert summary["before"]["rewards"]["truncated"]["mean"] == summary["before"]["truncated_frac"]
