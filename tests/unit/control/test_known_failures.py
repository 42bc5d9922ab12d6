"""Runs whose figures were published when they had failed; each is named by its thread. Every one is red."""

from __future__ import annotations

import pytest

from tests.unit.control.series import Row
from tests.unit.control.test_health import judged, levels
from toolkit.control.history import Context


def truncated_at(limit: float, n: int, clipped: float, **more: float) -> list[Row]:
    return [
        {
            "step": i,
            "loss": 0.0,
            "grad_norm": 0.0,
            "reward": 0.0,
            "reward_std": 0.0,
            "frac_reward_zero_std": 1.0,
            "completions/mean_length": limit,
            "completions/max_length": limit,
            "completions/clipped_ratio": clipped,
            **more,
        }
        for i in range(1, n + 1)
    ]


def test_trl_5697_every_completion_of_the_quickstart_is_truncated() -> None:
    """https://github.com/huggingface/trl/issues/5697: 97 to 99 % at 256 tokens, reward, loss and gradient 0."""
    health = judged(truncated_at(256, 10, 0.98), Context())
    assert {"R01", "R26"} <= {rule for rule, level in levels(health).items() if level == "red"}
    [flat] = [verdict for verdict in health.tripped() if verdict.rule.id == "R26"]
    assert "raise max_completion_length" in flat.next_step


def test_autocontext_1067_gsm8k_at_256_tokens_learns_nothing() -> None:
    """https://github.com/greyhaven-ai/autocontext/pull/1067: taken for a flat GRPO, an artefact of the limit."""
    rows = truncated_at(256, 10, 1.0, **{"completions/mean_terminated_length": 0.0})
    found = levels(judged(rows, Context()))
    assert {"R01", "R02", "R26"} <= {rule for rule, level in found.items() if level == "red"}


def test_coursia_13596_eighty_tokens_in_forty_of_forty_steps() -> None:
    """CoursIA#13596: shortest, mean and longest completion are all the limit."""
    rows = truncated_at(80, 40, 1.0, **{"completions/min_length": 80.0, "completions/mean_terminated_length": 0.0})
    found = levels(judged(rows, Context()))
    assert found["R02"] == found["R04"] == "red"


def test_trl_3857_spread_in_the_batch_and_none_in_any_group() -> None:
    """https://github.com/huggingface/trl/issues/3857: reward_std 5.08, and every group all the same."""
    rows = [{"step": i, "reward": 2.0 + i % 2, "reward_std": 5.08, "frac_reward_zero_std": 1.0} for i in range(1, 20)]
    assert levels(judged(rows, Context()))["R26"] == "red"


def test_unsloth_1775_a_thousand_steps_at_reward_0() -> None:
    """https://github.com/unslothai/unsloth/issues/1775."""
    rows = [{"step": 10 * i, "reward": 0.0, "reward_std": 0.0, "grad_norm": 0.0, "kl": 0.0} for i in range(1, 101)]
    found = levels(judged(rows, Context()))
    assert found["R26"] == found["R04"] == "red"


def test_unsloth_2470_memory_rises_from_36_to_40_gb_in_600_steps() -> None:
    """https://github.com/unslothai/unsloth/issues/2470: on a card of 40 GB the last steps do not fit."""
    rows = [{"step": i, "loss": 0.1, "memory/peak_gib": 36 + 3.9 * i / 600} for i in range(1, 601)]
    [verdict] = judged(rows, Context(memory_gib=40.0, n_steps=1200)).tripped()
    assert verdict.rule.id == "R14"
    assert "6.7 MiB a step" in verdict.found  # 3.9 GiB in 600 steps


def test_unsloth_2470_on_a_larger_card_is_no_fault() -> None:
    rows = [{"step": i, "loss": 0.1, "memory/peak_gib": 36 + 3.9 * i / 600} for i in range(1, 601)]
    assert levels(judged(rows, Context(memory_gib=80.0, n_steps=1200))) == {}


@pytest.mark.parametrize("thread", ["unsloth#3006", "open-r1#704"])
def test_a_nan_gradient_that_stays(thread: str) -> None:
    """The norm of the gradient is NaN from an early step on, while the loss is shown as 0."""
    del thread
    rows = [{"step": i, "loss": 0.0, "grad_norm": float("nan") if i > 2 else 0.3, "reward": 0.1} for i in range(1, 20)]
    assert levels(judged(rows, Context()))["R06"] == "red"


def test_a_loss_of_0_that_worried_people_is_no_fault() -> None:
    """https://github.com/huggingface/trl/issues/2703 and open-r1#239: beta 0, num_iterations 1, and it learns."""
    rows = [
        {
            "step": i,
            "loss": 0.0,
            "grad_norm": 0.3,
            "reward": 0.2 + 0.01 * i,
            "reward_std": 0.3,
            "frac_reward_zero_std": 0.3,
        }
        for i in range(1, 60)
    ]
    assert levels(judged(rows, Context())) == {}
