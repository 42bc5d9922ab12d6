"""The keys of metrics.jsonl: TRL's own, and ours, which are `area/what_unit`. No other module spells one."""

from __future__ import annotations

import re
from collections.abc import Iterable

STEP = "step"  # the optimizer step that a row is about, counted from 1

# TRL's and transformers'
REWARD = "reward"  # weighted sum of the rewards, mean over completions
LENGTH, TRUNCATED = "completions/mean_length", "completions/clipped_ratio"  # tokens; share that the limit truncated
LOSS = "loss"  # 0 by construction at num_iterations 1 and beta 0, whatever is learned
GRAD_NORM = "grad_norm"  # before clipping
LEARNING_RATE = "learning_rate"
ENTROPY, KL = "entropy", "kl"  # of the policy, and its distance from the reference; nats a token
TRL_STEP_S = "step_time"  # a step by TRL's own clock

# Ours
STEP_S, ROLLOUT_S, REWARD_S, UPDATE_S = "time/step_s", "time/rollout_s", "time/reward_s", "time/update_s"
PARITY_S = "time/parity_s"  # the parity check before the step
TOKENS_PER_S = "rollout/tokens_per_s"
NO_SIGNAL = "groups/zero_std_frac"  # share of groups in which every completion earned the same, so that none teaches
ALLOCATED_GIB = "memory/peak_allocated_gib"  # peak of torch's tensors on the card
RESERVED_GIB = "memory/peak_gib"  # peak of torch's allocator on the card, or of this process without one
PARITY_LEVEL = "parity/level"  # 0 green, 1 amber, 2 red
# Share of a move that the sampler makes: of all trained weights, and of the layer where it is least
PARITY_APPLIED, PARITY_APPLIED_MIN = "parity/applied", "parity/applied_min"
# |sampler - trainer| as they are, and what syncs moved the trained model's own log-probabilities by; nats a token
PARITY_NOISE, PARITY_NOISE_MAX, PARITY_DRIFT = "parity/noise_mean", "parity/noise_max", "parity/drift"

_REWARD_MEAN = re.compile(r"rewards/(.+)/mean")


def is_volatile(key: str) -> bool:
    """Whether two runs of the same settings and seed may differ in it: a clock, or the memory of the machine."""
    return key.startswith(("time/", "memory/")) or key in (TRL_STEP_S, TOKENS_PER_S)


def reward_means(keys: Iterable[str]) -> dict[str, str]:
    """Name of each reward function -> the key of its mean, in the order of `keys`."""
    return {match[1]: key for key in keys if (match := _REWARD_MEAN.fullmatch(key))}
