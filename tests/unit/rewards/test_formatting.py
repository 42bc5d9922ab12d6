"""The R1 format, strict and soft, and the slope towards it."""

from __future__ import annotations

import pytest

from toolkit.rewards import correct, format, format_soft, tag_count

STRICT = "<reasoning>\n2+3=5\n</reasoning>\n<answer>\n5\n</answer>"


@pytest.mark.parametrize(
    ("text", "strict", "soft", "tags"),
    [
        (STRICT, 1, 1, 1),
        (STRICT + "\n", 1, 1, 1),
        (STRICT + "\n\n", 0, 1, 1),
        (STRICT + " ", 0, 1, 1),
        ("<reasoning>2+3=5</reasoning><answer>5</answer>", 0, 1, 1),
        ("\n" + STRICT, 0, 1, 1),
        ("So: " + STRICT, 0, 0, 1),
        (STRICT + " indeed", 0, 0, 1),
        (STRICT.replace("2+3=5", ""), 0, 0, 1),
        (STRICT + STRICT, 0, 0, 0),
        (STRICT.replace("2+3=5", "<answer>4</answer>"), 0, 0, 0.5),
        ("<answer>\n5\n</answer>\n<reasoning>\n2+3=5\n</reasoning>", 0, 0, 1),
        ("2+3=5\nThe answer is 5.", 0, 0, 0),
        ("<reasoning>\n2+3=5\n</reasoning>\n<answer>\n5", 0, 0, 0.75),
        ("", 0, 0, 0),
    ],
)
def test_scores(text: str, strict: float, soft: float, tags: float) -> None:
    assert (format([text])[0], format_soft([text])[0], tag_count([text])[0]) == (strict, soft, tags)


def test_the_names_that_trl_logs_are_stable() -> None:
    names = [reward.__name__ for reward in (correct, format, format_soft, tag_count)]
    assert names == ["correct", "format", "format_soft", "tag_count"]
