"""From probes to a finding: level, cause and remedy, without a model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from toolkit.findings import Finding
from toolkit.training.parity.judgement import ALL, AS_IT_IS, Cause, Probe, Situation, compare, judge
from toolkit.training.parity.tolerance import APPLIED, NOISE

HERE = Situation("vLLM (colocate)")
TRAINED = Situation("vLLM (colocate)", fresh=False)
BF16 = Situation("vLLM (colocate)", dtype="bfloat16")
UNSYNCED = replace(TRAINED, from_base=1e-6)
QUIET = 1e-7


def probe(part: str, applied: float, *, factor: float | None = None, left: float = 0.01, effect: float = 0.02) -> Probe:
    """A part of whose move `applied` arrived; `factor` explains it."""
    return Probe(part, 300, effect * abs(1 - applied), 1.0, effect, applied, factor, left)


def finding(*moved: Probe, noise: float = QUIET, drift: float = 0.0, situation: Situation = HERE) -> Finding:
    return judge([Probe(AS_IT_IS, 300, noise, noise), *moved], drift, situation)


WELL = (probe("q_proj", 1.0), probe("up_proj", 0.99), probe(ALL, 1.01))


@pytest.mark.parametrize(
    ("given", "level", "cause", "said"),
    [
        (finding(*WELL), "green", Cause.NONE, ""),
        (
            finding(probe("q_proj", 0.0, factor=0.0), probe("up_proj", 0.01, factor=0.0), probe(ALL, 0.0, factor=0.0)),
            *("red", Cause.ADAPTER_UNUSED, "does not use what is trained ("),
        ),
        (
            finding(probe("q_proj", 1.0), probe("up_proj", 0.0, factor=0.0), probe(ALL, 0.6, left=0.9)),
            *("red", Cause.PART_UNUSED, "what is trained of up_proj"),
        ),
        (
            finding(probe("q_proj", 0.3, factor=0.5), probe("up_proj", 0.47, factor=0.52), probe(ALL, 0.1, factor=0.5)),
            *("red", Cause.SCALED, "q_proj, up_proj at 0.5"),
        ),
        (
            finding(probe("gate_proj", 2.5, left=0.9), probe("up_proj", 0.0, factor=0.0), probe(ALL, 1.6, left=0.9)),
            *("red", Cause.PART_WRONG, "gate_proj, up_proj otherwise"),
        ),
        (finding(probe(ALL, 0.0, factor=0.0)), "red", Cause.ADAPTER_UNUSED, "all 0.00"),
        (finding(*WELL[:2], probe(ALL, 0.5, left=0.9)), "red", Cause.PART_WRONG, "uses all otherwise"),
        (finding(probe("q_proj", 1.2, factor=1.2)), "amber", Cause.SCALED, "q_proj at 1.2"),
        (finding(*WELL, noise=0.02), "red", Cause.BASE_DIFFERS, "differ by 0.02 nats"),
        (finding(*WELL, noise=0.001), "amber", Cause.BASE_DIFFERS, "differ by 0.001 nats"),
        (finding(*WELL, drift=0.05), "red", Cause.SYNC_MOVES_BASE, "moved by 0.05 nats"),
        (
            finding(*WELL, noise=0.5, situation=replace(TRAINED, from_base=1e-6)),
            "red",
            Cause.ADAPTER_UNUSED,
            "as the base",
        ),
        (finding(*WELL, noise=0.5, situation=replace(TRAINED, from_base=0.3)), "red", Cause.BASE_DIFFERS, "0.5 nats"),
        (finding(*WELL, situation=replace(TRAINED, from_base=1e-8)), "green", Cause.NONE, ""),
        (finding(), "amber", Cause.UNCLEAR, "could not be told"),
        (
            judge([Probe(AS_IT_IS, 0, math.nan, math.nan)], 0.0, HERE),
            *("red", Cause.NO_NUMBERS, "gives no log-probabilities"),
        ),
    ],
)
def test_numbers_lead_to_a_level_a_cause_and_a_sentence(given: Finding, level: str, cause: Cause, said: str) -> None:
    assert (given.level, given.name) == (level, cause), given
    assert said in given.found
    assert bool(given.next_step) == bool(given.next_step) == (level != "green")


def test_what_is_rounding_in_bfloat16_is_a_fault_in_float32() -> None:
    probes = [probe(part, 1.0, effect=0.3) for part in ("q_proj", ALL)]
    assert finding(*probes, noise=0.02, situation=BF16).level == "green"
    assert finding(*probes, noise=0.02).level == "red"
    assert finding(*probes, noise=0.2, situation=BF16).level == "amber"
    between_types = Situation("vLLM (colocate)", dtype="bfloat16", in_4bit=True)
    assert finding(*probes, noise=0.09, situation=between_types).level == "green"


def test_another_base_drowns_the_shares_and_gets_the_blame() -> None:
    chance = [probe("q_proj", 1.5, left=0.9, effect=1.2), probe("up_proj", -1.0, left=0.8, effect=0.2)]
    for situation in (HERE, TRAINED):
        given = finding(*chance, probe(ALL, 5.2, left=1.0, effect=0.4), noise=6.0, situation=situation)
        assert (given.level, given.name) == ("red", Cause.BASE_DIFFERS)


def test_a_trained_adapter_that_is_not_synced_differs_as_it_is_and_is_told_from_another_base() -> None:
    stale = [probe(part, 0.02, left=0.8) for part in ("q_proj", "up_proj", ALL)]
    assert finding(*stale, noise=0.4, situation=TRAINED).name is Cause.ADAPTER_UNUSED
    halved = [probe(part, 0.4, factor=0.5, left=0.2) for part in ("q_proj", "up_proj", ALL)]
    assert finding(*halved, noise=0.4, situation=TRAINED).name is Cause.SCALED


@pytest.mark.parametrize(
    ("situation", "why", "remedy"),
    [
        (HERE, "not synced", "--use_vllm false"),
        (Situation("Unsloth's vLLM"), "unsloth#8701", "--use_vllm false"),
        (Situation("Unsloth's generate"), "not synced", "--backend transformers"),
        (Situation("continuous batching"), "not synced", "without --grpo.use_transformers_continuous_batching"),
    ],
)
def test_the_remedy_is_another_sampler_than_the_one_that_failed(situation: Situation, why: str, remedy: str) -> None:
    given = finding(probe(ALL, 0.0, factor=0.0), situation=situation)
    assert why in given.next_step
    assert remedy in given.next_step


def test_codes_without_their_scales_are_named_as_the_cause() -> None:
    packed = Situation("vLLM (colocate)", in_4bit=True, sampler_in_4bit=True, merges=True)
    given = finding(probe("q_proj", 3.4, left=0.9), probe("up_proj", -0.6, left=0.9), situation=packed)
    assert "4-bit" in given.next_step


def test_the_share_of_a_move_is_what_the_sampler_made_of_it() -> None:
    before, trainer = [-1.0, -2.0, -3.0, math.nan], [-1.4, -1.8, -3.0, -1.0]
    half = [(b + t) / 2 for b, t in zip(before, trainer, strict=True)]
    assert compare("p", trainer, trainer, before).applied == pytest.approx(1.0)
    assert compare("p", before, trainer, before).applied == pytest.approx(0.0)
    given = compare("p", half, trainer, before)
    assert (given.n_tokens, given.applied) == (3, pytest.approx(0.5))
    assert (given.effect, given.noise_mean, given.noise_max) == pytest.approx((0.2, 0.1, 0.2))
    assert compare("p", trainer, trainer, trainer).applied is None
    assert compare("p", [math.nan], [0.0]).n_tokens == 0


def test_red_lies_beyond_amber() -> None:
    for tolerance in (*NOISE.values(), APPLIED):
        assert (tolerance.level(tolerance.amber), tolerance.level(tolerance.red)) == ("green", "amber")
        assert tolerance.level(tolerance.red * 1.01) == tolerance.level(math.nan) == "red"
