"""What a step's completions and rewards come to, in figures."""

from __future__ import annotations

import math

import pytest

from toolkit.rewards import correct
from toolkit.rewards.repetition import repetition
from toolkit.runs import metrics
from toolkit.training.events import Round
from toolkit.training.figures import Bounds, declared_ranges, figures


def round_of(*groups: tuple[list[list[float]], list[str]], names: tuple[str, ...] = ("correct",)) -> Round:
    """Groups of two completions, each with its scores and its texts."""
    rewards = [scores for group, _ in groups for scores in group]
    rows = [{"completion": text, "n_tokens": 3} for _, texts in groups for text in texts]
    return Round(1, list(names), 2, rows, rewards, 1.0, 1.0)


def kinds(found: dict[str, float]) -> list[float]:
    return [found[key] for key in (metrics.ALL_RIGHT, metrics.ALL_WRONG, metrics.PARTLY_RIGHT)]


def test_groups_are_split_by_what_their_completions_earned() -> None:
    alike = ["a b", "a b"]
    done = round_of(([[1.0], [1.0]], alike), ([[0.0], [0.0]], alike), ([[0.5], [0.5]], alike), ([[1.0], [0.0]], alike))
    found = figures([done], Bounds({}))
    assert kinds(found) == [0.25, 0.25, 0.25]
    assert (found[metrics.reward_min("correct")], found[metrics.reward_max("correct")]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("score", "expected"), [(0.0, [0, 1, 0]), (-3.0, [0, 1, 0]), (1.0, [1, 0, 0]), (2.0, [1, 0, 0]), (0.3, [0, 0, 1])]
)
def test_a_reward_that_gave_one_value_only_is_taken_at_its_word(score: float, expected: list[float]) -> None:
    assert kinds(figures([round_of(([[score], [score]], ["a", "b"]))], Bounds({}))) == expected


def test_the_range_that_a_reward_declares_decides() -> None:
    ranges = declared_ranges([repetition, correct, lambda completions: [0.0]], ["repetition", "correct", "own"])
    assert ranges == {"repetition": (-1.0, 0.0), "correct": (0.0, 1.0)}
    done = round_of(([[0.0], [0.0]], ["a", "b"]), names=("repetition",))
    assert kinds(figures([done], Bounds(ranges))) == [1, 0, 0]  # 0 is its best


def test_a_resumed_run_goes_on_with_the_bounds_that_were_seen() -> None:
    first = figures([round_of(([[2.0], [0.0]], ["a", "b"]))], Bounds({}))
    row = {"rewards/correct/mean": 1.0, **first}
    later = round_of(([[1.0], [1.0]], ["a", "b"]))
    assert kinds(figures([later], Bounds({}, [row]))) == [0, 0, 1]
    assert kinds(figures([later], Bounds({}))) == [1, 0, 0]


def test_what_could_not_be_judged_is_no_bound() -> None:
    found = figures([round_of(([[math.nan], [math.nan]], ["a", "b"]))], Bounds({}))
    assert kinds(found) == [0, 0, 1]
    assert metrics.reward_max("correct") not in found


@pytest.mark.parametrize(
    ("texts", "identical"), [("aaaa", 1.0), ("aabb", 2 / 3), ("abcc", 1 / 3), ("abcd", 0.0)], ids=str
)
def test_identical_completions_are_counted_within_their_group(texts: str, identical: float) -> None:
    rows = [{"completion": text, "n_tokens": 1} for text in texts]
    done = Round(1, ["correct"], 4, rows, [[0.0]] * 4, 1.0, 1.0)
    assert figures([done], Bounds({}))[metrics.IDENTICAL] == pytest.approx(identical)


def test_the_same_text_in_two_groups_is_not_identical() -> None:
    done = round_of(([[1.0], [0.0]], ["a", "b"]), ([[1.0], [0.0]], ["a", "b"]))
    assert figures([done], Bounds({}))[metrics.IDENTICAL] == 0.0


def test_variety_and_what_is_no_text() -> None:
    found = figures([round_of(([[1.0], [0.0]], ["yes yes yes yes", " \n"]))], Bounds({}))
    assert found[metrics.DISTINCT_1] == 0.25
    assert found[metrics.DISTINCT_2] == pytest.approx(1 / 3)
    assert found[metrics.EMPTY] == 0.5
    assert found[metrics.UNPRINTABLE] == 0.0
    noise = figures([round_of(([[1.0], [0.0]], ["\x00\ufffd", "\ue000\ue001"]))], Bounds({}))
    assert noise[metrics.UNPRINTABLE] == 1.0
