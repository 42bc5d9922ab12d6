"""Intervals against hand-computed and published values, and their coverage."""

from __future__ import annotations

import random

import pytest

from toolkit.evaluation.estimators import mean_interval, paired_difference, wilson_interval


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


def test_interval_of_a_mean_is_wilsons_at_the_ends_and_never_a_point() -> None:
    assert mean_interval([0.0, 1.0, 1.0, 0.0]) == wilson_interval(2, 4)
    low, high = wilson_interval(0, 20)
    assert mean_interval([-1.0] * 20, (-1.0, 1.0)) == (2 * low - 1, 2 * high - 1)
    assert mean_interval([0.5] * 20) is mean_interval([]) is mean_interval([0.3]) is None
    # By hand: the sample's deviation is sqrt(4 * 0.0625 / 3) = 0.288675, half the interval 1.96 * 0.288675 / 2
    assert mean_interval([0.25, 0.75, 0.25, 0.75], (0.0, 1.0)) == pytest.approx((0.5 - 0.2829, 0.5 + 0.2829), abs=1e-4)
    assert mean_interval([0.5, 0.9, 0.9, 1.0], (0.0, 1.0)) == pytest.approx((0.6077, 1.0), abs=1e-4)


def test_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(1)
    drawn = (mean_interval([rng.betavariate(2, 3) for _ in range(64)], (0.0, 1.0)) for _ in range(1000))
    assert sum(bounds is not None and bounds[0] <= 0.4 <= bounds[1] for bounds in drawn) == pytest.approx(950, abs=25)
