"""Whole groups, or an error that names the nearest settings that make them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import SettingsError
from toolkit.settings import RolloutSettings
from toolkit.settings.batch import Batch, check_save_steps, solve


def rollout(g: int, b: int, a: int, s: int | None = None) -> RolloutSettings:
    return RolloutSettings(
        num_generations=g, per_device_train_batch_size=b, gradient_accumulation_steps=a, steps_per_generation=s
    )


def test_what_a_round_holds() -> None:
    batch = solve(rollout(8, 8, 4))
    assert (batch.generation_batch_size, batch.prompts_per_generation, batch.steps_per_round()) == (32, 4, 1)
    assert Batch.of(rollout(8, 8, 4, 2)).generation_batch_size == 16


@pytest.mark.parametrize(
    ("accumulation", "steps_per_generation", "num_iterations", "in_phase"),
    [(1, 1, 1, 1), (4, 4, 1, 1), (2, 4, 1, 2), (4, 2, 1, 1), (1, 4, 3, 12), (2, 6, 1, 3)],
)
def test_steps_until_rollouts_and_updates_are_in_phase(
    accumulation: int, steps_per_generation: int, num_iterations: int, in_phase: int
) -> None:
    assert Batch(8, 8, accumulation, steps_per_generation).steps_per_round(num_iterations) == in_phase


def test_the_error_does_the_arithmetic_and_names_the_nearest() -> None:
    with pytest.raises(SettingsError) as caught:
        solve(rollout(8, 3, 4))
    text = str(caught.value)
    assert "3 x gradient_accumulation_steps 4 = 12 completions" in text
    for option in ("per_device_train_batch_size 2", "per_device_train_batch_size 4", "num_generations 6"):
        assert option in text


@given(st.integers(2, 64), st.integers(1, 64), st.integers(1, 16), st.integers(1, 4))
def test_every_setting_the_error_names_is_valid(g: int, b: int, a: int, n_processes: int) -> None:
    try:
        solve(rollout(g, b, a), n_processes)
    except SettingsError as error:
        options = re.findall(r"--(\w+) (\d+)", str(error))
        assert options
        for name, value in options:
            changed: dict[str, Any] = {
                "num_generations": g,
                "per_device_train_batch_size": b,
                "gradient_accumulation_steps": a,
            }
            assert name in changed
            changed[name] = int(value)
            solve(RolloutSettings(**changed), n_processes)


def test_rounds_that_do_not_nest_in_steps_are_refused() -> None:
    with pytest.raises(SettingsError, match="one a multiple of the other"):
        check_save_steps(Batch(8, 8, 2, 3), save_steps=3)
    check_save_steps(Batch(8, 8, 4, 2), save_steps=1)
    check_save_steps(Batch(8, 8, 2, 4), save_steps=2)
