"""Statistics of saved completions: what they say of parts, groups and lengths, and the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit import cli, runs
from toolkit.rewards.bench.stats import examine, scored_rows
from toolkit.runs.names import step_name


def row(group: int, completion: str = "18", **scores: float | None) -> dict[str, Any]:
    return {"step": 1, "group": group, "prompt": "p", "completion": completion, "n_tokens": 3, "rewards": scores}


def test_parts_are_constant_saturated_or_say_the_same() -> None:
    rows = [
        {"scores": {"a": i % 2, "b": 2.0 * (i % 2), "flat": 1.0, "high": float(i != 7), "none": None}}
        for i in range(40)
    ]
    stats = examine(rows)
    assert {part.name: part.remark for part in stats.parts} == {
        "a": "",
        "b": "",
        "flat": "constant",
        "high": "saturated: 98% at its highest",
        "none": "never judged",
    }
    assert [(a, b) for a, b, _r in stats.correlated] == [("a", "b")]
    assert stats.n_groups == 0
    assert stats.lengths is None


def test_groups_without_signal_are_told_apart() -> None:
    rows = [
        *(row(0, correct=1.0, format=1.0), row(0, correct=1.0, format=1.0)),
        *(row(1, correct=0.0, format=0.0), row(1, correct=0.0, format=0.0)),
        *(row(2, correct=0.0, format=1.0), row(2, correct=0.0, format=1.0)),
        *(row(3, correct=0.0, format=1.0), row(3, correct=1.0, format=0.0)),  # one sum, and yet a difference
    ]
    stats = examine([r | {"scores": r["rewards"]} for r in rows])
    assert stats.n_groups == 4
    assert stats.groups[""] == {"all right": 1, "all wrong": 1, "partly right": 1, "mixed": 1}
    assert stats.groups["correct"] == {"all right": 1, "all wrong": 2, "mixed": 1}


def test_ends_are_those_that_the_reward_declares() -> None:
    # A file in which nothing else was seen says nothing of what is best
    stats = examine([{"scores": {"steps": 0.5, "mine": 0.5, "correct": 0.0}, "prompt": "p"} for _ in range(2)])
    assert stats.groups["steps"] == {"partly right": 1}
    assert stats.groups["mine"] == {"partly right": 1}
    assert stats.groups["correct"] == {"all wrong": 1}


@pytest.mark.parametrize("score", [0.0, -2.5, 1.0, 3.0])
def test_an_own_reward_that_is_constant_neither_passes_nor_fails(
    score: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(i // 2, f"text {i}", mine=score)) + "\n" for i in range(8)))
    assert cli.main(["reward", "stats", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"every completion scores {score:g}: nothing to learn from; check the format, and the reward" in shown
    assert "mine 0% - - 100%" in shown
    assert "too easy" not in shown
    assert "all parts together 0% - - 100%" in shown


def test_an_own_reward_passes_at_1_where_that_is_its_best() -> None:
    def kinds(*groups: tuple[float, float]) -> dict[str, int]:
        rows = [{"scores": {"mine": score}, "prompt": str(i)} for i, group in enumerate(groups) for score in group]
        return {**examine(rows).groups["mine"]}

    assert kinds((1.0, 1.0), (0.0, 0.0), (0.0, 1.0)) == {"all right": 1, "all wrong": 1, "mixed": 1}
    assert kinds((2.0, 2.0), (1.0, 1.0), (0.0, 2.0)) == {"partly right": 2, "mixed": 1}


def test_lengths_copies_and_loops() -> None:
    texts = ["one two three", "one two three", "a b c d", "so " * 400]
    rows = [row(0, text, correct=1.0) | {"scores": {"correct": 1.0}} for text in texts]
    found = examine(rows).lengths
    assert found is not None
    assert (found.unit, found.copy_frac, found.loop_frac) == ("tokens", 0.5, 0.25)


def test_run_folder_gives_figures_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.create("test", tmp_path / "run", {})
    for step in (1, 2):
        run.write_completions(step_name(step), [row(i // 2, correct=float(i % 2)) for i in range(4)])
    run.write_completions("before", [{"prompt": "p", "completion": "x"}])  # no training step, and no scores
    run.close()
    assert len(scored_rows(run.folder)) == 8
    assert cli.main(["reward", "stats", str(run.folder)]) == 0
    assert "8 completions in 4 groups" in capsys.readouterr().out
    assert (run.folder / "reward_stats.png").read_bytes().startswith(b"\x89PNG")


def test_output_of_score_is_taken_and_png_goes_where_it_is_asked(tmp_path: Path) -> None:
    path, png = tmp_path / "scores.jsonl", tmp_path / "figure.png"
    path.write_text(
        "".join(json.dumps({"row": i, "scores": {"correct": i % 2}, "total": i % 2}) + "\n" for i in range(4))
    )
    assert cli.main(["reward", "stats", str(path), "--png", str(png)]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert not path.with_suffix(".stats.png").exists()


@pytest.mark.parametrize(
    ("content", "args", "said"),
    [
        ('{"completion": "x"}', [], "line 1 has no scores"),
        ('{"scores": {"a": "high"}}', [], "line 1 has no scores"),
        ("", [], "is empty; wanted at least one row"),
        ('{"scores": {"a": 1}}', ["--png", "/no/such/folder/x.png"], "cannot be written"),
        ('{"scores": {"a": 1}}', ["--png", "x.pdf"], "is no PNG"),
    ],
)
def test_bad_input_is_one_line(
    content: str, args: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    assert cli.main(["reward", "stats", str(path), *args]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert said in shown
