"""Intervals against hand-computed and published values, and their coverage."""

from __future__ import annotations

import itertools
import random

import pytest

from toolkit.evaluation.estimators import (
    bootstrap_interval,
    maj_at_k,
    mcnemar,
    mean_interval,
    paired_difference,
    pass_at_k,
    two_shares_difference,
    wilson_interval,
)


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


@pytest.mark.parametrize(("n", "right"), [(5, 0), (5, 2), (5, 5), (6, 1), (1, 1)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n: int, right: int) -> None:
    verdicts = [i < right for i in range(n)]
    for k in range(1, n + 1):
        draws = list(itertools.combinations(verdicts, k))
        assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "right", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_of_more_than_there_are_is_refused(n: int, right: int, k: int) -> None:
    with pytest.raises(ValueError, match="wanted"):
        pass_at_k(n, right, k)


def test_a_majority_votes_by_answers_in_whole_blocks() -> None:
    answers = ["3", "4", "4", None, "4", "3"]
    rights = [True, False, False, False, False, True]
    assert maj_at_k(answers, rights, 6) == 0.0  # 4 has most votes, and is wrong
    assert maj_at_k(answers, rights, 2) == pytest.approx(1 / 3)  # ties go to the first: 3 (right), 4, 4
    assert maj_at_k(answers, rights, 1) == pytest.approx(2 / 6)
    assert maj_at_k([None, None], [False, True], 2) == 0.0  # nobody votes
    assert maj_at_k(answers, rights, 4) == 0.0  # what is left of six is no block
    with pytest.raises(ValueError, match="wanted"):
        maj_at_k(["3"], [True], 2)


def test_the_bootstrap_is_the_same_each_time_and_near_the_normal_interval() -> None:
    values = [float(i % 7) for i in range(200)]
    interval = bootstrap_interval(values)
    assert interval is not None
    assert interval == bootstrap_interval(list(values)) != bootstrap_interval(values, seed=1)
    normal = mean_interval(values)
    assert normal is not None
    assert interval == pytest.approx(normal, abs=0.06)
    assert bootstrap_interval([0.5] * 9) is bootstrap_interval([]) is None


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (8, 2, 0.109375), (3, 3, 1.0)])
def test_mcnemar_is_the_exact_binomial(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == mcnemar(lost, gained) == pytest.approx(p)


def test_two_shares_differ_as_in_newcombes_table() -> None:
    found = two_shares_difference(56, 70, 48, 80)  # 1998, table II, column a, method 10
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
