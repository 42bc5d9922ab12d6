"""What a line of a chat means, and what the scores of an answer come to."""

from __future__ import annotations

import pytest

from toolkit.launch.chat import Line, Said, Score, total, understood


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("  What is 2 + 3?\n", Line("What is 2 + 3?")),
        ("What is 2 + 3? /answer 5", Line("What is 2 + 3?", gold="5")),
        ("Is /answer a word? /answer 1/2 cup", Line("Is /answer a word?", gold="1/2 cup")),
        ("/answer 1,000 km", Line(gold="1,000 km")),
        ("/answer", Line(gold="")),
        ("/answers", Line(command="/answers")),
        ("/quit", Line(command="/quit")),
        ("/help me", Line(command="/help")),
        ("/usr/bin holds what?", Line("/usr/bin holds what?")),
        ("/ is which operation?", Line("/ is which operation?")),
        ("1/2 of 8?", Line("1/2 of 8?")),
    ],
)
def test_a_line_is_a_question_an_answer_or_a_command(typed: str, means: Line) -> None:
    assert understood(typed) == means


def test_the_total_is_weighted_and_waits_for_every_score() -> None:
    right, form = Score("correct", 1.0, 1.0), Score("format", 0.25, 1.0)
    assert total([right, form]) == 1.25
    assert total([Score("correct", 1.0, None, "needs the right answer"), form]) is None


def test_an_answer_says_how_it_ended() -> None:
    assert Said("trained", "18", 3, is_truncated=False).ending == ""
    assert Said("trained", "1", 48, is_truncated=True).ending.startswith("truncated after 48 tokens")
    assert Said("trained", " \n", 1, is_truncated=False).ending == "nothing"
