"""The keys of metrics.jsonl: TRL's own, and ours, which are `area/what_unit`. No other module spells one.

`METRICS` says of each what a reader must know: its unit, whether more is better, and whether two runs of the same
settings may differ in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

STEP = "step"
"""The optimizer step that a row is about, counted from 1."""

# TRL's and transformers'
REWARD, REWARD_STD = "reward", "reward_std"
LENGTH, TRUNCATED = "completions/mean_length", "completions/clipped_ratio"
LOSS, GRAD_NORM, LEARNING_RATE, ENTROPY, KL = "loss", "grad_norm", "learning_rate", "entropy", "kl"
TRL_STEP_S = "step_time"
TOKENS = "num_tokens"

# Ours
STEP_S, ROLLOUT_S, REWARD_S, UPDATE_S = "time/step_s", "time/rollout_s", "time/reward_s", "time/update_s"
PARITY_S = "time/parity_s"
TOKENS_PER_S = "rollout/tokens_per_s"
NO_SIGNAL = "groups/zero_std_frac"
BEST, WORST = "reward/best", "reward/worst"
ALLOCATED_GIB, RESERVED_GIB = "memory/peak_allocated_gib", "memory/peak_gib"
PARITY_LEVEL, PARITY_APPLIED, PARITY_APPLIED_MIN = "parity/level", "parity/applied", "parity/applied_min"
PARITY_NOISE, PARITY_NOISE_MAX, PARITY_DRIFT = "parity/noise_mean", "parity/noise_max", "parity/drift"

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Metric:
    """What is known of a key."""

    about: str
    unit: str = ""
    """Empty for a plain number; `share` is 0 to 1."""
    better: Better = ""
    """Empty where neither direction is good by itself."""
    is_volatile: bool = False
    """A clock or the memory of the machine: it may differ between two runs of the same settings and seed."""


METRICS: dict[str, Metric] = {
    REWARD: Metric("weighted sum of the rewards, mean over completions", better="higher"),
    REWARD_STD: Metric("spread of the reward within its group, mean over groups"),
    BEST: Metric("the highest reward of the step's completions", better="higher"),
    WORST: Metric("the lowest reward of the step's completions", better="higher"),
    LENGTH: Metric("length of a completion", "tokens"),
    TRUNCATED: Metric("completions that the length limit truncated", "share", "lower"),
    LOSS: Metric("GRPO's loss; 0 by construction at num_iterations 1 and beta 0, whatever is learned"),
    GRAD_NORM: Metric("length of the gradient before clipping"),
    LEARNING_RATE: Metric("learning rate of the step"),
    ENTROPY: Metric("entropy of the policy a token", "nats"),
    KL: Metric("distance from the reference a token", "nats", "lower"),
    TOKENS: Metric("prompts and completions so far", "tokens"),
    TRL_STEP_S: Metric("a step by TRL's own clock", "s", "lower", True),
    STEP_S: Metric("a step", "s", "lower", True),
    ROLLOUT_S: Metric("sampling completions", "s", "lower", True),
    REWARD_S: Metric("computing rewards", "s", "lower", True),
    UPDATE_S: Metric("the rest of a step: log-probabilities, loss, backward, optimizer", "s", "lower", True),
    PARITY_S: Metric("the parity check before the step", "s", "lower", True),
    TOKENS_PER_S: Metric("tokens sampled a second of rollouts", "tokens/s", "higher", True),
    NO_SIGNAL: Metric("groups in which every completion earned the same, so that none teaches", "share", "lower"),
    ALLOCATED_GIB: Metric("peak of torch's tensors on the card", "GiB", "lower", True),
    RESERVED_GIB: Metric("peak of torch's allocator on the card, or of this process without one", "GiB", "lower", True),
    PARITY_LEVEL: Metric("0 green, 1 amber, 2 red", better="lower"),
    PARITY_APPLIED: Metric("share of a move of all trained weights that the sampler makes", "share"),
    PARITY_APPLIED_MIN: Metric("the same of the layer where it is least", "share", "higher"),
    PARITY_NOISE: Metric("|sampler - trainer| a token, as they are", "nats", "lower"),
    PARITY_NOISE_MAX: Metric("the same at its largest", "nats", "lower"),
    PARITY_DRIFT: Metric("what syncs moved the trained model's own log-probabilities by", "nats", "lower"),
}
_OF_A_REWARD = re.compile(r"rewards/(.+)/(mean|std)")


def is_volatile(key: str) -> bool:
    """Whether two runs of the same settings and seed may differ in it."""
    return key in METRICS and METRICS[key].is_volatile


def reward_means(keys: Iterable[str]) -> dict[str, str]:
    """Name of each reward function -> the key of its mean, in the order of `keys`."""
    matches = {key: _OF_A_REWARD.fullmatch(key) for key in keys}
    return {match[1]: key for key, match in matches.items() if match and match[2] == "mean"}
