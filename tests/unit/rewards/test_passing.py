"""When a completion counts as right."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from toolkit.rewards import correct, r1_bundle
from toolkit.rewards.learned.http import HttpReward
from toolkit.rewards.length import too_short
from toolkit.rewards.passing import declared_range, is_right, pass_mark
from toolkit.training.rewards import with_name


def own(completions: list[Any], **_: Any) -> list[float]:
    return [0.0 for _ in completions]


def declared(completions: list[Any], **_: Any) -> list[float]:
    return [0.0 for _ in completions]


declared.range = (0, 2)  # type: ignore[attr-defined] # how a function declares its scores


@pytest.mark.parametrize(
    ("reward", "given", "scores", "mark"),
    [
        (correct, None, [0.0], 1.0),
        (correct, 0.5, [0.0], 0.5),
        (too_short, None, [], too_short.range[1]),
        (declared, None, [1.0], 2.0),
        (with_name(declared, "other"), None, [], 2.0),
        (own, None, [0.0, 0.5], None),
        (own, None, [0.0, None, 1.0], 1.0),
        (own, -3.0, [0.0], -3.0),
        (HttpReward(url="http://localhost/score"), None, [0.7], None),
        (HttpReward(url="http://localhost/score"), None, [1.0], 1.0),
    ],
)
def test_the_mark_is_what_is_given_or_declared_or_a_1_that_was_seen(
    reward: Any, given: float | None, scores: list[float | None], mark: float | None
) -> None:
    assert pass_mark(reward, given, scores) == mark


def test_rounding_does_not_fail_a_completion_and_none_never_passes() -> None:
    assert is_right(sum([0.60, 0.15, 0.15, 0.10]) - 1e-12, r1_bundle.range[1])
    assert not is_right(0.999, 1.0)
    assert not is_right(None, 0.0)
    assert not is_right(1.0, None)


def test_what_is_no_range_declares_nothing() -> None:
    for odd in (range(3), (1,), (0, "1"), (2, 1), (0, float("inf")), None):
        function = functools.partial(own)
        function.range = odd  # type: ignore[attr-defined] # as above
        assert declared_range(function) is None, odd
