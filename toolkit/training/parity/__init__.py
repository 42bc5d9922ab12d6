"""Parity gate: does the sampler draw from the policy that is being trained?

The most expensive silent failure of GRPO is a rollout engine that does not use the trained weights: the loss is
finite, the run ends with 0, and nothing was learnt (unsloth#8701, unsloth-zoo#941, trl#2698). The gate moves the
trained weights on purpose, samples a few prompts the way the run's rollouts do, and asks how much of the move arrived
in the sampler's log-probabilities. Greedy text does not tell: it is the same with a stale adapter.

probe    which weights can be moved; move them and put them back, bit for bit
sample   token log-probabilities of the run's own sampler, and of the trainer
judgement  numbers -> green, amber or red, the probable cause and the remedy; no torch
check    one check: its probes, from beginning to end
gate     when a run checks, what it records, and the stop at red
"""

from __future__ import annotations

from toolkit.training.parity.check import Check, check_parity
from toolkit.training.parity.gate import Gate

__all__ = ["Check", "Gate", "check_parity"]
