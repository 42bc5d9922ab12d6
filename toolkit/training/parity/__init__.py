"""Parity gate: does the sampler draw from the policy that is being trained?

The most expensive silent failure of GRPO is a rollout engine that does not use the trained weights: the loss is
finite, the run ends with 0, and nothing was learnt (unsloth#8701, unsloth-zoo#941, trl#2698). The gate moves the
trained weights on purpose, samples a few prompts the way the run's rollouts do, and asks how much of the move arrived
in the sampler's log-probabilities. Greedy text does not tell: it is the same with a stale adapter.
"""

from __future__ import annotations

from toolkit.training.parity.check import Check, check_parity

__all__ = ["Check", "check_parity"]
