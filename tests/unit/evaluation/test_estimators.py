"""Intervals against hand-computed and published values, and their coverage."""

from __future__ import annotations

import random

import pytest

from toolkit.evaluation.estimators import paired_difference, wilson_interval


def test_wilson_against_published_values() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_refuses_what_is_no_count() -> None:
    for n_correct, n in ((0, 0), (3, 2), (-1, 5)):
        with pytest.raises(ValueError, match="wanted"):
            wilson_interval(n_correct, n)


def test_paired_difference_by_hand() -> None:
    # 10 problems: 5 gained, 1 lost. (5.5 - 1.5) / 12 = 1/3; sqrt((7/12 - 1/9) / 12) = 0.19838
    before = [True, *[False] * 5, True, True, False, False]
    after = [False, *[True] * 5, True, True, False, False]
    value, low, high = paired_difference(before, after)
    assert value == pytest.approx(0.4)
    assert (low, high) == pytest.approx((1 / 3 - 1.96 * 0.19838, 1 / 3 + 1.96 * 0.19838), abs=1e-3)


def test_paired_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(0)
    hits = 0
    for _ in range(2000):
        pairs = [
            rng.choices([(False, True), (True, False), (True, True), (False, False)], (3, 1, 4, 2))[0]
            for _ in range(60)
        ]
        _, low, high = paired_difference([b for b, _ in pairs], [a for _, a in pairs])
        hits += low <= 0.2 <= high
    assert 0.93 <= hits / 2000 <= 0.98
