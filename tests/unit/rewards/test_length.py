"""Rewards by length, repetition and characters: values by hand and from the papers."""

from __future__ import annotations

import math

import pytest

from toolkit.errors import RewardError
from toolkit.rewards.length import (
    CosineLength,
    GroupLength,
    LengthBand,
    Overlong,
    TooShort,
    count_tokens,
    group_length,
    groups,
)
from toolkit.rewards.repetition import (
    Compression,
    Printable,
    Repetition,
    compression,
    distinct_1,
    distinct_2,
    printable,
    repetition,
)

RIGHT, WRONG = "<answer>18</answer>", "<answer>17</answer>"


def of_lengths(reward, lengths: list[int]) -> list[float | None]:
    return reward([""] * len(lengths), completion_ids=[[0] * n for n in lengths])


def test_tokens_are_the_models_own_else_four_bytes_each() -> None:
    assert count_tokens("a long text", [1, 2]) == 2
    assert [count_tokens(text, None) for text in ("", "abcd", "abcde", "你好", "\ud800")] == [0, 1, 2, 2, 1]
    assert "estimated" in LengthBand().explain("abcd").reason
    assert "estimated" not in LengthBand().explain("abcd", completion_ids=[1]).reason


def test_the_band_is_flat_inside_and_linear_outside() -> None:
    assert of_lengths(LengthBand(100, 400), [0, 50, 100, 400, 600, 800, 9999]) == [0, 0.5, 1, 1, 0.5, 0, 0]


def test_too_short_falls_to_minus_one_at_nothing() -> None:
    assert of_lengths(TooShort(50), [0, 25, 50, 900]) == [-1, -0.5, 0, 0]


def test_overlong_is_equation_13_of_dapo() -> None:
    """Its own setting: 16,384 tokens expected, 4,096 of cache, 20,480 at most."""
    lengths = [0, 16384, 16384 + 1024, 16384 + 2048, 20480, 20481, 90000]
    assert of_lengths(Overlong(20480, 4096), lengths) == [0, 0, -0.25, -0.5, -1, -1, -1]


def test_the_cosine_is_that_of_the_paper_and_does_not_climb_again() -> None:
    reward = CosineLength(max_tokens=100)
    ids = [[0] * n for n in (0, 50, 100, 150, 200, 1000)]
    columns = {"answer": ["18"] * 6, "completion_ids": ids}
    assert reward([RIGHT] * 6, **columns) == pytest.approx([1.0, 0.75, 0.5, 0.5, 0.5, 0.5])
    assert reward([WRONG] * 6, **columns) == pytest.approx([-1.0, -0.75, -0.5, -0.5, -0.5, -0.5])
    third = 0.5 + 0.25 * (1 + math.cos(math.pi / 3))
    assert CosineLength(max_tokens=90)([RIGHT], answer=["18"], completion_ids=[[0] * 30]) == [pytest.approx(third)]
    assert reward.judge(RIGHT, answer="many") is None


def test_group_length_is_the_length_penalty_of_kimi_k15() -> None:
    prompts = ["a"] * 4 + ["b"] * 2
    texts = [RIGHT, RIGHT, RIGHT, WRONG, WRONG, WRONG]
    ids = [[0] * n for n in (100, 150, 200, 100, 10, 30)]
    assert group_length(texts, prompts=prompts, answer=["18"] * 6, completion_ids=ids) == [0.5, 0, -0.5, 0, 0, -0.5]
    same = group_length([RIGHT] * 2, prompts=["a"] * 2, answer=["18"] * 2, completion_ids=[[0]] * 2)
    assert same == [0.0, 0.0]
    assert GroupLength().judge(RIGHT, answer="18") == 0.0


def test_groups_are_runs_of_equal_prompts() -> None:
    chat = [[{"role": "user", "content": text}] for text in "aab"]
    assert groups(chat) == [slice(0, 2), slice(2, 3)]
    assert groups([]) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: LengthBand(5, 4), lambda: LengthBand(-1, 4), lambda: TooShort(0), lambda: Overlong(100, 200),
        lambda: Overlong(100, 0), lambda: CosineLength(0), lambda: Repetition(0), lambda: Compression(3, 3),
        lambda: Printable(0),
    ],
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(make) -> None:
    with pytest.raises(RewardError, match="wanted"):
        make()


def test_repeated_ngrams_of_tokens_are_counted() -> None:
    ids = [[1, 2, 3, 4], [1, 2, 1, 2, 1, 2], [7] * 10, [1], []]
    assert Repetition(2)([""] * 5, completion_ids=ids) == pytest.approx([0.0, 2 / 5 - 1, 1 / 9 - 1, 0.0, 0.0])
    assert repetition(["so we go on and on"], completion_ids=None) == [0.0]
    assert repetition.judge("a b c d " * 2) == pytest.approx(4 / 5 - 1)  # without tokens: words


def test_distinct_n_is_the_share_of_different_ngrams() -> None:
    assert distinct_1(["a b a b", "", "我我我你"]) == [0.5, 0.0, 0.5]
    assert distinct_2(["a b a b", "a", "A a a"]) == [pytest.approx(2 / 3), 0.0, 0.5]


def test_a_loop_compresses_and_a_solution_does_not() -> None:
    solution = (
        "Natalia sold 48/2 = <<48/2=24>>24 clips in May. Then she sold 48+24 = <<48+24=72>>72 clips altogether in "
        "April and May, which is what was asked. Each friend bought one, so nothing else is to be counted: it is 72."
    )
    assert compression([solution, "too short " * 15, "The answer is 18. " * 40, "a" * 100_000]) == [
        0.0,
        0.0,
        -1.0,
        -1.0,
    ]
    middle = Compression(free=1.0, worst=4.0).judge(solution)
    assert middle is not None
    assert -1 < middle < 0


def test_what_no_reader_sees_is_counted() -> None:
    assert printable(["plain\ttext\n", "", "你好，été ½ \U0001f600", "\u3000\u00a0"]) == [1.0] * 4
    assert printable(["a" * 39 + "\x00", "a" * 39 + "\ufffd", "a" * 39 + "\ud800", "\x07" * 9]) == pytest.approx(
        [0.5] * 3 + [0]
    )
