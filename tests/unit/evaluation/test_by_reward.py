"""Each reward's mean on measured completions, and the share in the format."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.data import arithmetic
from toolkit.data.prompts import ask
from toolkit.errors import RewardError
from toolkit.evaluation.by_reward import format_frac, judge, means
from toolkit.models import embedded
from toolkit.rewards import correct, correct_if_format, format, registry
from toolkit.rewards.bench.layouts import render
from toolkit.rewards.length import Overlong
from toolkit.settings import DataSettings

ROWS = ask(arithmetic.load(8, 1, seed=0), DataSettings()).train[:4]
TEXTS = [
    *(render("answer_tag", "So it is.", row["answer"]) for row in ROWS[:2]),
    render("answer_tag", "So it is.", "none"),
    "I do not know.",
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded.folder())


def strict_format_reward_func(completions: list[Any], **_: Any) -> list[float]:
    """As notebooks write it: it reads messages and pays a half."""
    return [0.5 if "<answer>" in completion[0]["content"] else 0.0 for completion in completions]


def shouts(completions: list[Any], **_: Any) -> list[float]:
    return [1.0]


def test_every_reward_is_called_as_in_training_and_has_its_mean(tokenizer: Any) -> None:
    changing = registry.get("r1_curriculum")  # its weights change with the run; here they are those of its end
    rewards = [correct, format, strict_format_reward_func, changing]
    scores = judge(rewards, ROWS, TEXTS, tokenizer)
    assert [of_one["correct"] for of_one in scores] == [1.0, 1.0, 0.0, 0.0]
    assert [of_one["r1_curriculum"] for of_one in scores] == changing(TEXTS, answer=[row["answer"] for row in ROWS])
    found = means(rewards, scores)
    assert [found[name]["mean"] for name in ("correct", "format", "strict_format_reward_func")] == [0.5, 0.75, 0.375]
    assert found["format"] == {"mean": 0.75, "interval": pytest.approx((0.3006, 0.9544), abs=1e-4), "n": 4}


def test_tokens_are_those_of_the_model(tokenizer: Any) -> None:
    n_tokens = [len(ids) for ids in tokenizer(TEXTS, add_special_tokens=False)["input_ids"]]
    limit = Overlong(max_tokens=max(n_tokens) + 1, cache_tokens=1)
    beyond = Overlong(max_tokens=max(n_tokens), cache_tokens=1, title="beyond")
    scores = judge([limit, beyond], ROWS, TEXTS, tokenizer)
    assert {of_one["overlong"] for of_one in scores} == {0.0}
    assert [of_one["beyond"] for of_one in scores] == [-1.0 if n == max(n_tokens) else 0.0 for n in n_tokens]


@pytest.mark.parametrize(
    ("rewards", "share"),
    [
        ([correct, format], 0.75),
        ([correct, strict_format_reward_func], 0.75),
        ([correct_if_format, registry.get("tag_count")], None),
        ([], None),
    ],
)
def test_the_format_rate_is_that_of_the_reward_for_the_format(
    rewards: list[Any], share: float | None, tokenizer: Any
) -> None:
    assert format_frac(rewards, judge(rewards, ROWS, TEXTS, tokenizer)) == share


def test_what_cannot_be_judged_is_left_out_of_the_mean(tokenizer: Any) -> None:
    rows = [ROWS[0], *(row | {"answer": "it depends"} for row in ROWS[1:])]
    found = means([correct], judge([correct], rows, TEXTS, tokenizer))["correct"]
    assert (found["mean"], found["n"]) == (1.0, 1)
    nothing = means([correct], judge([correct], rows[1:], TEXTS[1:], tokenizer))["correct"]
    assert nothing == {"mean": None, "interval": None, "n": 0}


def test_a_reward_without_a_score_for_each_is_named(tokenizer: Any) -> None:
    with pytest.raises(RewardError, match="reward 'shouts' returns 1 score for 4 completions"):
        judge([shouts], ROWS, TEXTS, tokenizer)
