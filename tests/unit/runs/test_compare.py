"""Gains over another run: paired by the problem, never by the place in a list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.runs.made import make_run
from toolkit import runs
from toolkit.evaluation.estimators import paired_difference
from toolkit.runs.compare import differing_environment, differing_settings, paired
from toolkit.runs.record import Record, read_record


def two(tmp_path: Path) -> tuple[Record, Record]:
    return read_record(make_run(tmp_path / "a", n_right=3)), read_record(make_run(tmp_path / "b", n_right=6))


def test_the_gain_is_that_of_the_paired_estimator(tmp_path: Path) -> None:
    found = paired(*two(tmp_path))
    value, low, high = paired_difference([i < 3 for i in range(8)], [i < 6 for i in range(8)])
    assert found["pass_at_1"] == {"value": value, "interval": [low, high]}
    assert (found["n"], found["score"]["value"], found["why"]) == (8, 0.375, "")


def test_problems_are_found_again_in_another_order(tmp_path: Path) -> None:
    first, other = two(tmp_path)
    expected = paired(first, other)
    run = runs.reopen(other.folder)
    rows, _ = other.completions("after")
    run.write_completions("after", list(reversed(rows)))
    side = run.document("measurements.json")["after"]
    turned = {name: list(reversed(side[name])) for name in ("verdicts", "scores")}
    run.update("measurements.json", after=side | turned)
    run.close()
    assert paired(first, read_record(other.folder))["pass_at_1"] == expected["pass_at_1"]


def test_only_shared_problems_count(tmp_path: Path) -> None:
    first, other = two(tmp_path)
    run = runs.reopen(other.folder)
    rows, _ = other.completions("after")
    run.write_completions("after", [*rows[:4], *({**row, "prompt": f"other {row['prompt']}"} for row in rows[4:])])
    run.close()
    assert paired(first, read_record(other.folder))["n"] == 4


def test_what_cannot_be_paired_says_why(tmp_path: Path) -> None:
    first, other = two(tmp_path)
    stopped = read_record(make_run(tmp_path / "c", ends="stopped"))
    assert paired(first, stopped)["why"] == "c was not measured after training"
    (other.folder / "completions" / "after.parquet").write_bytes(b"x")
    assert "after.parquet cannot be read" in paired(first, other)["why"]
    run = runs.reopen(other.folder)
    run.write_completions("after", [{"prompt": f"else {i}", "completion": ""} for i in range(8)])
    assert paired(first, other)["why"] == "the two were measured on different problems"
    run.write_completions("after", [{"prompt": "one", "completion": ""}])
    assert "do not go together" in paired(first, other)["why"]
    run.close()


def test_differences_are_those_that_bear_on_the_run(tmp_path: Path) -> None:
    first, other = two(tmp_path)
    assert differing_settings([first, other]) == {}
    settings = json.loads((other.folder / "settings.json").read_text())
    settings["requested"] |= {"output_dir": "/elsewhere", "seed": 7, "grpo": {"beta": 0.1}}
    settings["rewards"][0]["weight"] = 2.0
    (other.folder / "settings.json").write_text(json.dumps(settings))
    assert differing_settings([first, read_record(other.folder)]) == {
        "seed": [0, 7],
        "grpo.beta": ["not recorded", 0.1],
        "rewards": ["correct:1, format:0.5", "correct:2, format:0.5"],
    }
    environment = {"versions": {"trl": "1.16.0"}, "gpus": [{"name": "RTX 4090"}], "python": "3.11.7"}
    (other.folder / "environment.json").write_text(json.dumps(environment))
    found = differing_environment([first, read_record(other.folder)])
    assert found["trl"] == ["1.15.0", "1.16.0"]
    assert found["gpus"] == [None, "RTX 4090"]
    assert "python" not in found


@pytest.mark.parametrize("broken", ["settings.json", "environment.json", "measurements.json"])
def test_a_run_with_a_broken_record_is_still_compared(broken: str, tmp_path: Path) -> None:
    first, other = two(tmp_path)
    (other.folder / broken).write_text('{"requested": 3, "after": [], "versions": 1, "gpus": 2, "rewards": {}}')
    other = read_record(other.folder)
    differing_settings([first, other])
    differing_environment([first, other])
    assert set(paired(first, other)) == {"n", "pass_at_1", "score", "why"}
