"""One check: sample as it is, sample with weights moved, and say what the numbers mean."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from toolkit.backends.base import count_4bit
from toolkit.compat import trl as trl_compat
from toolkit.compat.contracts import require
from toolkit.findings import Finding
from toolkit.machine import processes
from toolkit.training.parity.judgement import ALL, AS_IT_IS, Probe, Situation, compare, judge
from toolkit.training.parity.probe import Weight, forget_sync, left_as_it_was, moved, parts, seed
from toolkit.training.parity.sample import Sampled, sample, sampler_of, score, trainer_dtype
from toolkit.training.parity.tolerance import APPLIED, move_nats

CLIP_NATS = 1.0
"""A larger difference counts as this in the size of a move: one token that became impossible is not a large move."""
N_TRIALS = 7


@dataclass(frozen=True)
class Check:
    """The result of one check. Nats a token; seconds.

    `drift`: mean change of the trainer's own log-probabilities over the syncs of this check, weights being the same.
    """

    situation: Situation
    probes: tuple[Probe, ...]
    drift: float
    finding: Finding
    seconds: float
    reference: Sampled
    """What was drawn as it is."""

    def record(self) -> dict[str, Any]:
        """What parity.json keeps."""
        return {
            "situation": asdict(self.situation),
            "finding": asdict(self.finding),
            "drift": self.drift,
            "seconds": round(self.seconds, 2),
            "probes": [asdict(probe) for probe in self.probes],
        }


def check_parity(
    trainer: Any,
    prompts: Sequence[Any],
    *,
    every_part: bool = True,
    drift_so_far: float = 0.0,
) -> Check:
    """Compare the trainer with its sampler on `prompts` (a dataset's, one completion each), and leave it as it was.

    With `every_part` the weights of each layer name are moved by themselves, then all together; else only together.
    `drift_so_far`: what the base has moved by already. Every process of a run takes part.
    """
    started = time.perf_counter()
    in_4bit = count_4bit(trainer.model) > 0
    sampler = sampler_of(trainer, in_4bit)
    prompt_ids = require(trainer, trl_compat.TOKENIZE, trl_compat.RELEASE)(list(prompts))[0]
    with left_as_it_was(trainer, merges=sampler.merges):
        trained = parts(trainer.model)
        together = [weight for weights in trained.values() for weight in weights]
        situation = Situation(
            sampler=sampler.name,
            dtype=coarser(trainer_dtype(trainer), sampler.dtype or "bfloat16"),
            in_4bit=in_4bit,
            sampler_in_4bit=sampler.in_4bit,
            merges=sampler.merges,
            fresh=not any(bool(weight.parameter.detach().any()) for weight in together),
        )
        seed()
        reference = sample(trainer, prompt_ids)
        as_it_is = score(trainer, reference)
        probes = [compare(AS_IT_IS, *_pooled(reference.logps, as_it_is))]
        nats = move_nats(situation.dtype, situation.one_in_4bit)
        for part, weights in [*(trained.items() if every_part else ()), (ALL, together)]:
            scale = _scale(trainer, weights, reference, as_it_is, nats)
            probes.append(_probe(trainer, part, weights, scale, prompt_ids))
        drift = compare(AS_IT_IS, *_pooled(as_it_is, score(trainer, reference))).noise_mean
        if not situation.fresh and hasattr(trainer.model, "disable_adapter"):
            with trainer.model.disable_adapter():
                base = compare(AS_IT_IS, *_pooled(reference.logps, score(trainer, reference)))
            situation = replace(situation, from_base=base.noise_mean)
    finding = judge(probes, max(drift, drift_so_far), situation)
    return Check(situation, tuple(probes), drift, finding, time.perf_counter() - started, reference)


def coarser(*dtypes: str) -> str:
    """The type with the fewest digits."""
    digits = ("float32", "float16", "bfloat16")
    return max(dtypes, key=lambda dtype: digits.index(dtype) if dtype in digits else len(digits))


def _probe(trainer: Any, part: str, weights: Sequence[Weight], scale: float, prompt_ids: list[list[int]]) -> Probe:
    """Move these weights, sync, sample, and score the tokens with the weights moved and put back."""
    with moved(weights, scale):
        forget_sync(trainer)
        seed()
        sampled = sample(trainer, prompt_ids)
        after = score(trainer, sampled)
    probe = compare(part, *_pooled(sampled.logps, after, score(trainer, sampled)))
    if probe.applied is None or APPLIED.level(abs(1 - probe.applied)) == "green":
        return probe

    @cache
    def distance(factor: float) -> float:
        with moved(weights, scale * factor):
            return _clipped(sampled.logps, score(trainer, sampled))

    factor = _nearest(distance)
    return replace(probe, factor=factor, left=distance(factor) / max(distance(1.0), 1e-12))


def _nearest(distance: Callable[[float], float]) -> float:
    """The factor of least distance, of 0 and what lies between 1/16 and 16, to about 10 %."""
    best = min((0.0, *(2.0**k for k in range(-4, 5))), key=distance)
    for exponent in (0.5, 0.25, 0.125):
        best = min((best / 2**exponent, best, best * 2**exponent), key=distance)
    return best


def _clipped(one: Sequence[float], other: Sequence[float]) -> float:
    """Mean distance in nats over all processes; none counts for more than `CLIP_NATS`, what is no number not at all."""
    [distances] = _pooled([min(CLIP_NATS, abs(a - b)) for a, b in zip(one, other, strict=True) if math.isfinite(a - b)])
    return sum(distances) / max(1, len(distances))


def _scale(trainer: Any, weights: Sequence[Weight], reference: Sampled, before: list[float], nats: float) -> float:
    """Find the scale at which the trainer's log-probabilities of `reference` move from `before` by about `nats`."""
    scale, low, high = 1.0, 0.0, math.inf
    for _ in range(N_TRIALS):
        with moved(weights, scale):
            effect = _clipped(before, score(trainer, reference))
        if nats / 2 < effect < nats * 1.5:
            break
        low, high = (scale, high) if effect < nats else (low, scale)
        scale = math.sqrt(low * high) if low and high < math.inf else scale * (4.0 if low else 0.25)
    return scale


def _pooled(*values: list[float]) -> list[list[float]]:
    """The values of all processes, so that all judge alike and move their weights alike."""
    return [[value for part in processes.gather(own) for value in part] for own in values]
