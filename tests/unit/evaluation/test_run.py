"""Measuring by any reward: what it is called with, and what counts as right, with completions that are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from toolkit import runs
from toolkit.backends.base import Backend, Generation, Policy, Sampling
from toolkit.data.schema import Messages, Row
from toolkit.evaluation.run import Exam, Measurement, agree, compare, measure
from toolkit.rewards import correct, r1_curriculum
from toolkit.rewards.registry import get
from toolkit.runs.completions import read_rows


class Scripted:
    """An engine that says what it was told to, whatever it is asked."""

    def batch_size(self, policy: Policy) -> int:
        return 64

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def generate(self, policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
        return [Generation(text, len(text), text.endswith("…")) for text, _ in zip(self.texts, prompts, strict=True)]


class Spelling:
    """Of a policy, what measuring asks for: a token a character."""

    def tokenizer(self, texts: Sequence[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [list(map(ord, text)) for text in texts]}


def measured(folder: Path, reward: Any, rows: Sequence[Row], *texts: str, when: str = "after", **more: Any) -> Any:
    run = runs.create("test", folder / when, {})
    exam = Exam(rows, reward, 48, **more)
    found = measure(when, run, cast(Backend, Scripted(*texts)), cast(Policy, Spelling()), exam)
    lines, _ = read_rows(run.completions / f"{when}.parquet")
    run.close()
    return found, lines


def row(asked: str, **columns: Any) -> Row:
    return {"prompt": [{"role": "user", "content": asked}], **columns}


def of_messages(
    prompts: Any, completions: Any, completion_ids: Any, trainer_state: Any, log_metric: Any, **_: Any
) -> list[float | None]:
    """As a user writes it for chat prompts; what it names, TRL gives."""
    log_metric("seen", 1.0)
    return [len(c[0]["content"]) / len(p[-1]["content"]) for p, c in zip(prompts, completions, strict=True)]


def test_an_own_reward_is_called_as_trl_calls_it_on_rows_without_gold(tmp_path: Path) -> None:
    rows = [row("abcd"), row("abcd", level="hard")]
    found, lines = measured(tmp_path, of_messages, rows, "ab", "abc")
    assert (found.pass_at_1, found.interval, found.mean_score) == (None, None, 0.625)
    assert [(line["prompt"], line["answer"], line["correct"], line["score"]) for line in lines] == [
        ("abcd", None, None, 0.5),
        ("abcd", None, None, 0.75),
    ]


@pytest.mark.parametrize(
    ("texts", "pass_score", "expected"),
    [(("abcd", "ab"), None, 0.5), (("abc", "ab"), 0.7, 0.5), (("abc", "ab"), 0.5, 1.0)],
)
def test_a_score_of_1_or_the_pass_score_makes_a_pass(
    tmp_path: Path, texts: tuple[str, str], pass_score: float | None, expected: float
) -> None:
    found, _ = measured(tmp_path, of_messages, [row("abcd"), row("abcd")], *texts, pass_score=pass_score)
    assert found.pass_at_1 == expected


def test_before_and_after_are_judged_by_one_mark(tmp_path: Path) -> None:
    rows = [row("abcd"), row("abcd")]
    before, _ = measured(tmp_path, of_messages, rows, "ab", "ab", when="before")
    after, _ = measured(tmp_path, of_messages, rows, "abcd", "ab")
    assert (before.pass_at_1, after.pass_at_1) == (None, 0.5)
    both = agree(before, after)
    assert [side.pass_at_1 for side in both] == [0.0, 0.5]
    assert compare(*both)["value"] == 0.5
    assert [side.pass_at_1 for side in agree(after, before)] == [0.5, 0.0]
    assert compare(*agree(before, before)) == {"value": None, "interval": None}


def test_a_measurement_that_is_kept_comes_back_as_it_was(tmp_path: Path) -> None:
    run = runs.create("test", tmp_path / "run", {})
    exam = Exam([row("abcd")], of_messages, 48)
    kept = [
        measure("before", run, cast(Backend, Scripted(text)), cast(Policy, Spelling()), exam) for text in ("ab", "abcd")
    ]
    assert kept[0] == kept[1]
    run.update("measurements.json", before={"pass_at_1": 1.0, "n": 1, "interval": [0.2, 1.0], "truncated_frac": 0.0,
                                            "mean_tokens": 3.0, "verdicts": [True]})  # fmt: skip
    earlier = measure("before", run, cast(Backend, Scripted("x")), cast(Policy, Spelling()), exam)
    assert earlier == Measurement(1.0, 1, (0.2, 1.0), 0.0, 3.0, [True])
    run.close()


def test_the_librarys_rewards_judge_as_before(tmp_path: Path) -> None:
    rows = [row("2 + 3?", question="2 + 3?", answer="5")] * 2
    found, lines = measured(tmp_path, correct, rows, "<answer>\n5\n</answer>", "<answer>\n6\n</answer>")
    assert (found.pass_at_1, found.verdicts, found.pass_score) == (0.5, [True, False], 1.0)
    assert [line["correct"] for line in lines] == [True, False]
    final = r1_curriculum(["<answer>\n5\n</answer>"], answer=["5"])  # by the weights that a run ends with
    again, _ = measured(tmp_path / "more", r1_curriculum, rows[:1], "<answer>\n5\n</answer>")
    assert again.scores == final


def test_a_reward_is_told_what_is_truncated(tmp_path: Path) -> None:
    rows = [row("a", answer="18"), row("b", answer="18")]
    found, lines = measured(tmp_path, get("correct_last_number"), rows, "So it is 18.", "So it is 18…")
    assert found.verdicts == [True, False]
    assert [line["finish_reason"] for line in lines] == ["stop", "length"]
