"""Groups of completions: which are one, and what their rewards come to."""

from __future__ import annotations

import math

import pytest

from toolkit.runs.groups import Kind, Rewards, groups_of, is_mixed, key_of, kind_of, zero_std_frac

NAN = math.nan


def test_rows_are_of_one_group_by_step_and_number_else_by_prompt() -> None:
    assert key_of({"step": 1, "group": 0, "prompt": "p"}) == key_of({"step": 1, "group": 0, "prompt": "q"})
    assert key_of({"step": 1, "group": 0}) != key_of({"step": 2, "group": 0})
    assert key_of({"prompt": "p"}) == "p"
    assert key_of({"completion": "x"}) is None


def test_neighbours_of_one_key_are_a_group() -> None:
    rows = [{"prompt": prompt, "n": n} for n, prompt in enumerate("aabba")]
    assert [[row["n"] for row in group] for group in groups_of(rows)] == [[0, 1], [2, 3], [4]]
    assert groups_of([{"prompt": "a"}, {"prompt": "b"}]) == []  # each is alone
    assert groups_of([*rows, {"completion": "of no group"}]) == []
    assert groups_of([]) == []


@pytest.mark.parametrize(
    ("group", "bounds", "kind"),
    [
        ([[1.0], [1.0]], [(0, 1)], "all right"),
        ([[0.0], [0.0]], [(0, 1)], "all wrong"),
        ([[0.5], [0.5]], [(0, 1)], "partly right"),
        ([[None], [None]], [(0, 1)], "partly right"),
        ([[NAN], [NAN]], [(0, 1)], "partly right"),
        ([[NAN], [None]], [(0, 1)], "partly right"),
        ([[0.0], [None]], [(0, 1)], "mixed"),
        ([[1.0, 0.2], [1.0, 0.2]], [(0, 1), (0, 0.2)], "all right"),
        ([[1.0, 0.0], [1.0, 0.0]], [(0, 1), (0, 1)], "partly right"),
        ([[1.0, 0.0], [0.0, 1.0]], [(0, 1), (0, 1)], "mixed"),  # one sum, and yet a difference
        ([[0.0, 1.0], [0.0, 1.0]], [(0, 1), (1, 1)], "partly right"),  # a constant earns its most
        ([[0.0]], [(0, 1)], "all wrong"),
    ],
)
def test_a_group_is_mixed_or_lies_at_an_end_or_between(
    group: list[Rewards], bounds: list[tuple[float, float]], kind: Kind
) -> None:
    assert kind_of(group, bounds) == kind
    assert is_mixed(group) == (kind == "mixed")


@pytest.mark.parametrize(
    ("rewards", "num_generations", "share"),
    [
        ([[1, 0.2], [1, 0.2], [1, 0.2], [0, 0.2]], 2, 0.5),
        ([[0.1 + 0.2, 0], [0.3, 0]], 2, 0.0),
        ([[1, 0], [0, 1]], 2, 0.0),
        ([[NAN, 1], [NAN, 1]], 2, 1.0),
        ([], 8, 0.0),
        ([[1.0], [1.0], [0.0]], 2, 1.0),
    ],
)
def test_share_of_groups_without_signal(rewards: list[Rewards], num_generations: int, share: float) -> None:
    assert zero_std_frac(rewards, num_generations) == share
