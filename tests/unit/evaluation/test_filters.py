"""lm-evaluation-harness's filters for GSM8K, each case worked out by hand from its patterns."""

from __future__ import annotations

import pytest

from toolkit.evaluation import filters
from toolkit.evaluation.filters import INVALID, flexible, is_match, strict

STRICT = [
    ("48/2 = 24\n#### 72", "72"),
    ("#### 1,234", "1,234"),
    ("#### -5", "-5"),
    ("#### 3.50 dollars", "3.50"),
    ("#### 1\n#### 2", "1"),  # the first
    ("#### $18", INVALID),  # no dollar sign in the class
    ("####18", INVALID),  # no blank
    ("The answer is 18.", INVALID),
    ("##### 7", "7"),  # four of the five hashes
    ("#### 12.", "12."),  # the point is taken along, and ignored when compared
    ("so it is\nQuestion: next?\n#### 9", INVALID),  # generation would have stopped
    ("#### 4<|im_end|>\n#### 5", "4"),
    ("", INVALID),
]
FLEXIBLE = [
    ("48/2 = 24\n#### 72", "72"),
    ("first 3, then 18", "18"),  # the last
    ("It costs $1,234.50 in all", "$1,234.50"),
    ("It is 7", "7"),
    ("It is -7", "-7"),
    ("from 10-15", "-15"),  # the sign belongs to what follows it
    ("72.", "72."),
    ("They are equal...", "..."),  # points alone are a match of the first group
    ("no number", INVALID),
    ("<answer>\n18\n</answer>", "18"),
    ("18 </s> 99", "18"),
    ("x = 1/2", "2"),
    ("", INVALID),
]
MATCHES = [
    ("72", "72", True),
    ("1,234", "1234", True),
    ("$18", "18", True),
    ("12.", "12", True),
    ("18.0", "18", False),  # as text
    ("18", "He pays 9*2 = <<9*2=18>>18.\n#### 18", True),
    ("18", "#### 1,8", True),
    (INVALID, "18", False),
    ("-5", "5", False),
]


@pytest.mark.parametrize(("text", "taken"), STRICT)
def test_strict(text: str, taken: str) -> None:
    assert strict(text) == taken


@pytest.mark.parametrize(("text", "taken"), FLEXIBLE)
def test_flexible(text: str, taken: str) -> None:
    assert flexible(text) == taken


@pytest.mark.parametrize(("taken", "gold", "matches"), MATCHES)
def test_what_counts_as_the_same(taken: str, gold: str, matches: bool) -> None:
    assert is_match(taken, gold) is matches


def test_the_same_completions_are_judged_by_each() -> None:
    rows = [{"answer": "18"}] * 4
    texts = ["#### 18", "It is 18.", "<answer>18.0</answer>", "#### 18, or 19"]
    assert filters.verdicts(rows, texts) == {
        "lm_eval_strict": [True, False, False, True],
        "lm_eval_flexible": [True, True, False, False],
    }


def test_any_of_several_gold_answers_counts_and_answers_in_words_are_left_alone() -> None:
    assert filters.verdicts([{"answer": '["4", "5"]'}], ["#### 5"])["lm_eval_strict"] == [True]
    assert filters.verdicts([{"answer": "18"}, {"answer": "Paris"}], ["#### 18", "Paris"]) == {}
    assert filters.verdicts([{"question": "q"}], ["x"]) == {}
