"""From numbers to a finding: green, amber or red, the probable cause, and what to do. No torch, no trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from toolkit.findings import Finding, Level, worst
from toolkit.training.parity.tolerance import APPLIED, UNUSED, drift_tolerance, noise_tolerance

AS_IT_IS, ALL = "as it is", "all"
"""Names of two probes that are no layer's: nothing moved, everything moved."""

UNSLOTH_VLLM, UNSLOTH_GENERATE, CONTINUOUS_BATCHING = "Unsloth's vLLM", "Unsloth's generate", "continuous batching"
"""Samplers with a remedy of their own."""

N_NOISES = 3
"""A move has to be this many times the difference that is there as it is, or its share says little."""

EXPLAINED = 0.3
ALIKE = 1.3
"""Factors that differ by no more than this, up or down, are one."""


class Cause(StrEnum):
    """What is probably wrong."""

    NONE = ""
    NO_NUMBERS = "no numbers"
    ADAPTER_UNUSED = "adapter unused"
    PART_UNUSED = "part unused"
    SCALED = "scaled"
    PART_WRONG = "part wrong"
    BASE_DIFFERS = "base differs"
    SYNC_MOVES_BASE = "sync moves base"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Probe:
    """One comparison over sampled tokens. Nats a token; `applied` is a share.

    `noise_mean`, `noise_max`: |sampler - trainer|. `effect`: mean |trainer - trainer before the move|. `applied`: the
    share of the move that the sampler made, by least squares: 1 all of it, 0 none, 2 twice; None where nothing moved.
    Where it is off, `factor` says at how many times the move the trainer comes nearest to the sampler, and `left` which
    share of |sampler - trainer| remains there: with little left, the factor explains the sampler.
    """

    part: str
    n_tokens: int
    noise_mean: float
    noise_max: float
    effect: float = 0.0
    applied: float | None = None
    factor: float | None = None
    left: float = 1.0

    @property
    def explained(self) -> float | None:
        """The factor that explains the sampler, if one does."""
        return self.factor if self.left < EXPLAINED else None


@dataclass(frozen=True)
class Situation:
    """What a verdict depends on beside the probes.

    `dtype`: the coarser of trainer and sampler. `fresh`: the adapter is still zero. `merges`: it gets to the sampler
    merged into the base in place. `from_base`: mean |sampler - trainer without its adapter|, as they are; None where
    that says nothing.
    """

    sampler: str
    dtype: str = "float32"
    in_4bit: bool = False
    sampler_in_4bit: bool = False
    merges: bool = False
    fresh: bool = True
    from_base: float | None = None

    @property
    def one_in_4bit(self) -> bool:
        return self.in_4bit != self.sampler_in_4bit


def compare(
    part: str, sampler: Sequence[float], trainer: Sequence[float], before: Sequence[float] | None = None
) -> Probe:
    """Make a probe of log-probabilities of the same tokens: the sampler's, the trainer's, and the trainer's `before`.

    Tokens of which any is no number are left out.
    """
    rows = zip(sampler, trainer, trainer if before is None else before, strict=True)
    usable = [row for row in rows if all(map(math.isfinite, row))]
    if not usable:
        return Probe(part, 0, math.nan, math.nan)
    noise = [abs(s - t) for s, t, _ in usable]
    mean, largest = sum(noise) / len(noise), max(noise)
    if before is None:
        return Probe(part, len(usable), mean, largest)
    moves = [t - b for _, t, b in usable]
    squares = sum(move * move for move in moves)
    effect = sum(map(abs, moves)) / len(moves)
    made = sum((s - b) * move for (s, _, b), move in zip(usable, moves, strict=True))
    return Probe(part, len(usable), mean, largest, effect, made / squares if squares else None)


def judge(probes: Sequence[Probe], drift: float, situation: Situation) -> Finding:
    """Say what the probes of one check mean: the first is as it is, the others have weights moved.

    `drift`: nats by which syncs moved the trainer's own log-probabilities, weights being the same. The finding is named
    by its probable `Cause`.
    """
    as_it_is, sampler = probes[0], situation.sampler
    if not as_it_is.n_tokens:
        return _finding("red", Cause.NO_NUMBERS, f"{sampler} gives no log-probabilities", situation)
    telling = _telling(as_it_is, probes[1:], situation)
    noise = noise_tolerance(situation.dtype, situation.one_in_4bit).level(as_it_is.noise_mean)
    drifted = drift_tolerance(situation.dtype, situation.in_4bit).level(drift)
    pattern = _pattern(telling)
    if noise != "green" and _is_the_base(as_it_is, situation):
        found = f"{sampler} does not use what is trained: it draws as the base does without its adapter"
        return _finding("red", Cause.ADAPTER_UNUSED, found, situation)
    off = worst(APPLIED.level(abs(1 - applied)) for _, applied in telling) if telling else "amber"
    level = worst((off, noise, drifted))
    if level == "green":
        return Finding(Cause.NONE, "green", f"{sampler} draws from the weights in training")
    has_pattern = pattern is not Cause.PART_WRONG or (
        noise == drifted == "green"
    )  # else shares are off for another reason
    if off == level and has_pattern:
        return _finding(level, pattern, _found(pattern, telling, sampler), situation)
    if drifted == level:  # before noise, which comes of it: the sampler has the weights as they were before
        found = f"syncs changed the trained model: its own log-probabilities moved by {drift:.2g} nats a token"
        return _finding(level, Cause.SYNC_MOVES_BASE, found, situation)
    nats = f"{as_it_is.noise_mean:.2g} nats a token (at most {as_it_is.noise_max:.2g})"
    found = f"{sampler} and the trained model differ by {nats} as they are"
    return _finding(level, Cause.BASE_DIFFERS, found, situation)


def _is_the_base(as_it_is: Probe, situation: Situation) -> bool:
    """Whether the sampler is, but for chance, the base alone, though the adapter is trained: as after a resume."""
    near = situation.from_base
    if near is None or near * N_NOISES > as_it_is.noise_mean:
        return False
    return noise_tolerance(situation.dtype, situation.one_in_4bit).level(near) == "green"


Telling = list[tuple[Probe, float]]
"""Probes that say something, each with its applied share."""


def _telling(as_it_is: Probe, moved: Sequence[Probe], situation: Situation) -> Telling:
    """The probes whose move stands out of what differs as it is.

    Once the adapter is trained, what differs as it is may come from the adapter itself, so a clear pattern counts.
    """
    every = [(probe, probe.applied) for probe in moved if probe.applied is not None]
    if not situation.fresh and _pattern(every) in (Cause.ADAPTER_UNUSED, Cause.SCALED):
        return every
    return [(probe, applied) for probe, applied in every if probe.effect > N_NOISES * as_it_is.noise_mean]


def _wrong(telling: Telling) -> Telling:
    """The parts that are furthest off: red ones, or else amber ones.

    All together goes wrong whenever one part does, so it counts only where the parts are well, or were not asked.
    """
    parts = [(probe, applied) for probe, applied in telling if probe.part != ALL]
    for among in (parts, telling):
        for limit in (APPLIED.red, APPLIED.amber):
            wrong = [(probe, applied) for probe, applied in among if abs(1 - applied) > limit]
            if wrong:
                return wrong
    return []


def _pattern(telling: Telling) -> Cause:
    """What the shares look like, NONE included."""
    wrong = _wrong(telling)
    if not telling:
        return Cause.UNCLEAR
    if not wrong:
        return Cause.NONE
    factors = [probe.explained for probe, _ in wrong]
    known = [factor for factor in factors if factor]
    if len(known) == len(factors) and max(known) <= ALIKE * min(known):
        return Cause.SCALED
    if all(abs(applied) < UNUSED for _, applied in telling):
        return Cause.ADAPTER_UNUSED
    return Cause.PART_UNUSED if all(factor == 0 for factor in factors) else Cause.PART_WRONG


def _found(cause: Cause, telling: Telling, sampler: str) -> str:
    wrong = _wrong(telling)
    names = ", ".join(probe.part for probe, _ in wrong)
    shares = f"of a move, these shares arrive: {', '.join(f'{probe.part} {applied:.2f}' for probe, applied in wrong)}"
    factors = sorted(probe.factor for probe, _ in wrong if probe.factor) or [math.nan]
    middle = factors[len(factors) // 2]
    return {
        Cause.UNCLEAR: f"{sampler} could not be told from the model before it was moved",
        Cause.ADAPTER_UNUSED: f"{sampler} does not use what is trained ({shares})",
        Cause.PART_UNUSED: f"{sampler} does not use what is trained of {names} ({shares})",
        Cause.SCALED: f"{sampler} uses {names} at {middle:.2g} times the strength",
        Cause.PART_WRONG: f"{sampler} uses {names} otherwise than trained ({shares})",
    }[cause]


def _finding(level: Level, cause: Cause, found: str, situation: Situation) -> Finding:
    next_step = f"probably {_why(cause, situation)}; {_remedy(cause, situation)}"
    return Finding(cause, level, found, "rollouts from the weights in training", next_step)


def _why(cause: Cause, situation: Situation) -> str:
    """The probable cause, in words."""
    if cause in (Cause.SCALED, Cause.PART_WRONG) and situation.merges and situation.sampler_in_4bit:
        return "TRL merges into 4-bit weights and sends their codes without the scales"
    if cause is Cause.BASE_DIFFERS and situation.one_in_4bit:
        return "one of the two holds the base in 4 bit"
    if cause is Cause.ADAPTER_UNUSED and situation.sampler == UNSLOTH_VLLM:
        return "no lora_request reaches vLLM (unsloth#8701)"
    return {
        Cause.NO_NUMBERS: "it failed, or was told to return none",
        Cause.ADAPTER_UNUSED: "its weights are not synced",
        Cause.PART_UNUSED: "its loader does not take these weights (unsloth-zoo#941)",
        Cause.SCALED: "lora_alpha / r acts there otherwise, or twice",
        Cause.PART_WRONG: "its loader puts weights in the wrong place (unsloth-zoo#941)",
        Cause.BASE_DIFFERS: "another checkpoint or type, or a head or embedding that is not synced",
        Cause.SYNC_MOVES_BASE: "the adapter is merged into the base and taken out again, which rounds",
        Cause.UNCLEAR: "the trained weights move the model too little",
    }[cause]


def _remedy(cause: Cause, situation: Situation) -> str:
    """The way to rollouts that do use the trained weights."""
    if "vLLM" in situation.sampler:
        return "start again with --use_vllm false, and --grpo.use_transformers_continuous_batching true for speed"
    if situation.sampler == CONTINUOUS_BATCHING:
        return "start again without --grpo.use_transformers_continuous_batching"
    if situation.sampler == UNSLOTH_GENERATE:
        return "start again with --backend transformers"
    return "run: toolkit doctor"
