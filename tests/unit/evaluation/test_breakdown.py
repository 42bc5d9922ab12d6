"""Figures by difficulty, and completions that vote."""

from __future__ import annotations

import pytest

from toolkit.backends.base import Generation
from toolkit.errors import DataError
from toolkit.evaluation import breakdown
from toolkit.evaluation.repeated import answer_of, at_k
from toolkit.rewards import correct
from toolkit.rewards.registry import get

ROWS = [
    {"question": "a", "level": 10, "worked_solution": "3*7=21\n21-5=16"},
    {"question": "b", "level": 2, "worked_solution": "First add. 48/2 = 24 clips."},
    {"question": "c", "level": None, "worked_solution": "It is so.\nThen it is."},
    {"question": "d", "level": 10, "worked_solution": "1+1=2"},
]


def test_steps_are_equations_or_else_lines() -> None:
    assert breakdown.labels(ROWS, "steps", "rows") == ["2", "1", "2", "1"]


def test_groups_stand_in_the_order_of_numbers() -> None:
    of = breakdown.labels(ROWS, "level", "rows")
    found = breakdown.groups(of, [True, False, True, False])
    assert [(group["value"], group["n"], group["pass_at_1"]) for group in found] == [
        ("2", 1, 0.0),
        ("10", 2, 0.5),
        ("none", 1, 1.0),
    ]
    assert found[1]["interval"] == pytest.approx((0.0945, 0.9055), abs=1e-4)


def test_a_column_that_is_not_there_is_told() -> None:
    with pytest.raises(DataError, match="did you mean level"):
        breakdown.labels(ROWS, "levle", "rows")
    with pytest.raises(DataError, match="no worked solutions"):
        breakdown.labels([{"question": "a"}], "steps", "rows")
    with pytest.raises(DataError, match="21 different values"):
        breakdown.labels([{"q": i} for i in range(21)], "q", "rows")


def said(text: str, is_truncated: bool = False) -> Generation:
    return Generation(text, 4, is_truncated)


def test_equal_numbers_are_one_vote_and_no_answer_is_none() -> None:
    votes = [answer_of(said(f"<answer>{text}</answer>"), correct) for text in ("18", "18.0", "$18", "many Apples", " ")]
    assert votes == ["18", "18", "18", "many apples", None]
    assert answer_of(said("The answer is 18."), correct) is None  # that reward reads tags alone
    last = get("correct_last_number")
    assert [answer_of(said("So 18", cut), last) for cut in (False, True)] == ["18", None]


def test_at_k_is_by_problem() -> None:
    right, wrong = said("<answer>1</answer>"), said("<answer>2</answer>")
    found = at_k([[True, False], [False, False]], [[right, wrong], [wrong, wrong]], [1, 2], correct)
    assert {k: one["value"] for k, one in found["pass_at_k"].items()} == {"1": 0.25, "2": 0.5}
    assert {k: one["value"] for k, one in found["maj_at_k"].items()} == {"2": 0.5}
