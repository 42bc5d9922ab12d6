"""The generated problems are right, and the held-out ones are never trained on."""

from __future__ import annotations

import random
import re

from toolkit.data import N_GENERATED, arithmetic


def test_the_story_the_equations_and_the_answer_agree() -> None:
    rng = random.Random(1)
    for _ in range(500):
        problem = arithmetic.generate(rng, "train")
        for e in problem.equations:
            assert e.result == {"+": e.left + e.right, "-": e.left - e.right, "*": e.left * e.right}[e.op]
            assert 0 < e.result <= arithmetic.MAX_RESULT
        told = [int(n) for n in re.findall(r"\d+", problem.question)]
        results = {e.result for e in problem.equations[:-1]}
        used = [n for e in problem.equations for n in (e.left, e.right)]
        assert set(used) <= set(told) | results
        assert set(told) <= set(used)


def test_no_held_out_equation_tuple_is_trained_on() -> None:
    rng = random.Random(0)
    trained = {arithmetic.generate(rng, "train").equations for _ in range(3 * N_GENERATED)}
    rng = random.Random(0)
    held_out = {arithmetic.generate(rng, "held_out").equations for _ in range(500)}
    assert trained.isdisjoint(held_out)


def test_held_out_rows_are_the_same_for_every_seed_and_training_rows_are_not() -> None:
    one, two = arithmetic.load(50, 64, seed=0), arithmetic.load(50, 64, seed=1)
    assert one.held_out == two.held_out
    assert len({row["question"] for row in one.held_out}) == 64
    assert one.train != two.train
    assert one == arithmetic.load(50, 64, seed=0)
