"""From a policy, rows and rewards to a trained adapter."""

from __future__ import annotations

from toolkit.training.grpo import Assembly, Reward, build_trainer
from toolkit.training.loop import train

__all__ = ["Assembly", "Reward", "build_trainer", "train"]
