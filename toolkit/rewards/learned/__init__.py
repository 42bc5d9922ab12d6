"""Rewards that ask a model: a sequence classifier in this process, or a language model over HTTP.

Neither can be used without settings, so the two instances here only describe themselves; `registry.get` makes usable
ones of `reward_model:FOLDER` and `judge:FILE.yaml`. Nothing is loaded or asked before the first call, by which time the
trainer is built: Unsloth must be imported before transformers.
"""

from __future__ import annotations

from toolkit.rewards.learned.classifier import RewardModel
from toolkit.rewards.learned.llm_judge import Judge

reward_model, judge = RewardModel(), Judge()

__all__ = ["Judge", "RewardModel", "judge", "reward_model"]
