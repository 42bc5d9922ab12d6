"""Blind rating as a value: pairs, sides, choices, what they come to, and the pairs for DPO."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import DataError
from toolkit.evaluation.estimators import wilson_interval
from toolkit.evaluation.rating import CHOICES, Answer, Pair, Rating, pair, shuffled


def row(prompt: Any, completion: Any, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "answer": "5", "finish_reason": "stop", **more}


def pairs(n: int) -> tuple[Pair, ...]:
    return pair([row(f"q{i}", f"a{i}") for i in range(n)], [row(f"q{i}", f"b{i}") for i in range(n)]).pairs


def judged(*choices: Any, b_is_left: bool = False) -> Rating:
    each = Pair("q", "5", Answer("of a"), Answer("of b"), b_is_left)
    return Rating((each,) * len(choices), choices)


def test_completions_meet_by_prompt_and_by_how_often_it_came() -> None:
    found = pair(
        [row("q", "first"), row("only a", "x"), row("same", "y"), row("q", "second")],
        [row("q", "FIRST"), row("same", "y"), row("q", "SECOND"), row("q", "third")],
    )
    assert [(each.prompt, each.a.text, each.b.text) for each in found.pairs] == [
        ("q", "first", "FIRST"),
        ("q", "second", "SECOND"),
    ]
    assert (found.n_same, found.n_alone) == (1, 2)


def test_prompts_and_completions_may_be_messages() -> None:
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    found = pair(
        [row(asked, [{"role": "assistant", "content": "x"}], finish_reason="length")],
        [row(asked, "y", answer=["7", "8"])],
    )
    (each,) = found.pairs
    assert (each.a, each.b) == (Answer("x", is_truncated=True), Answer("y"))
    (preferred,) = Rating((each,), ("right",)).preferences([{"role": "system", "content": "another"}])
    assert preferred["prompt"] == asked


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ([row("q", "x")], [row("p", "x")], "no prompt in common"),
        ([row("q", "x")], [row("q", "x")], "the same text for all 1 prompts"),
    ],
)
def test_nothing_to_compare_is_refused(a: list[Any], b: list[Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        pair(a, b)


def test_the_seed_alone_decides_order_and_sides_and_both_sides_occur() -> None:
    once, again, other = (shuffled(pairs(40), seed) for seed in (3, 3, 4))
    assert once == again
    assert once != other
    assert sorted(str(each.prompt) for each in once) == sorted(str(each.prompt) for each in pairs(40))
    assert 10 <= sum(each.b_is_left for each in once) <= 30
    assert [each.prompt for each in once] != [each.prompt for each in pairs(40)]


@pytest.mark.parametrize(("b_is_left", "left", "right"), [(False, "of a", "of b"), (True, "of b", "of a")])
def test_a_choice_is_for_the_one_that_stands_there(b_is_left: bool, left: str, right: str) -> None:
    rating = judged("left", "right", b_is_left=b_is_left)
    assert (rating.pairs[0].left.text, rating.pairs[0].right.text) == (left, right)
    chosen = [each["chosen"][0]["content"] for each in rating.preferences([])]
    assert chosen == [left, right]
    assert [each["rejected"][0]["content"] for each in rating.preferences([])] == [right, left]


@given(st.lists(st.sampled_from(CHOICES), max_size=30), st.integers(0, 9))
def test_counts_add_up_and_undo_takes_back(choices: list[Any], seed: int) -> None:
    rating = Rating(shuffled(pairs(30), seed))
    for choice in choices:
        before, rating = rating, rating.choose(choice)
        assert rating.undo() == before
    found = rating.result()
    assert (
        found["a_wins"] + found["b_wins"] + found["ties"] == found["n_judged"] == len(choices) - choices.count("skip")
    )
    assert found["n_shown"] == len(choices) == found["n_judged"] + found["skipped"]
    assert (rating.current is None) == (len(choices) == 30)
    if found["n_judged"]:
        low, high = found["interval"]
        assert 0 <= low <= found["win_rate"] <= high <= 1
    assert len(rating.preferences([])) == found["a_wins"] + found["b_wins"]


def test_the_win_rate_is_that_of_b_and_a_tie_is_half_a_win() -> None:
    found = judged("right", "right", "right", "left", "tie", "skip").result()
    assert (found["a_wins"], found["b_wins"], found["ties"], found["skipped"]) == (1, 3, 1, 1)
    assert found["win_rate"] == 3.5 / 5
    assert found["interval"] == wilson_interval(3.5, 5)
    nothing = judged("skip").result()
    assert (nothing["win_rate"], nothing["interval"]) == (None, None)


def test_ties_skips_and_truncated_winners_make_no_preference_pair() -> None:
    cut = Pair("q", None, Answer("half", is_truncated=True), Answer("whole"))
    front = [{"role": "system", "content": "s"}]
    rows = Rating((cut,) * 4, ("left", "right", "tie", "skip")).preferences(front)
    assert rows == [
        {
            "prompt": [*front, {"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": "whole"}],
            "rejected": [{"role": "assistant", "content": "half"}],
        }
    ]


def test_a_limit_keeps_what_was_chosen_before() -> None:
    rating = Rating(pairs(5), ("left", "tie", "skip"))
    assert [len(rating.first(n).pairs) for n in (None, 1, 3, 4, 9)] == [5, 3, 3, 4, 5]
    with pytest.raises(ValueError, match="every pair"):
        rating.first(1).choose("left")
