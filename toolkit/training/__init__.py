"""From a policy, rows and rewards to a trained adapter."""

from __future__ import annotations

from toolkit.training.grpo import Assembly, build_trainer
from toolkit.training.loop import train
from toolkit.training.rewards import Reward

__all__ = ["Assembly", "Reward", "build_trainer", "train"]
