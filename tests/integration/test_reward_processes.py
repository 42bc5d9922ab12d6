"""Rewards in another process, as a launcher or a dataloader has them."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.unit.rewards.samples import PURE, TEXTS, columns
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.registry import get

pytestmark = pytest.mark.filterwarnings("ignore::toolkit.rewards.base.RewardWarning")


def called(reward: RewardFunction) -> list[float | None]:
    """Also run in another process, on a reward that came by pickle."""
    return reward(TEXTS, **columns(len(TEXTS)))


def test_every_reward_travels_to_a_spawned_process() -> None:
    rewards = [get(name) for name in PURE if name != "correct_latex"]  # has workers of its own, tested elsewhere
    assert pickle.loads(pickle.dumps(rewards)) == rewards  # noqa: S301
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(called, rewards)) == [called(reward) for reward in rewards]
