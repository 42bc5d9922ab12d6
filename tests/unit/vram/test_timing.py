"""Estimated times: by hand, by law, and against published runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from tests.paths import GOLDEN
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.constants import shipped
from toolkit.vram.formula import timing
from toolkit.vram.plan import make_plan
from toolkit.vram.request import Request

STEP_TIMES = json.loads((GOLDEN / "step_times.json").read_text(encoding="utf-8"))
REACHED = [row for row in STEP_TIMES["rows"] if row["lengths"] != "shorter"]
SHORTER = [row for row in STEP_TIMES["rows"] if row["lengths"] == "shorter"]
ASKED = Request(model="Qwen/Qwen2.5-3B-Instruct", framework="trl", method="lora", max_completion_length=1024)
SHAPE = find(ASKED.model)
CARD = find_card("4090")
RATES = timing.Rates(1e12, 1e14, 1e13, 1e-12, 1e-4, 1e-3)  # round numbers, no card's


def timed(request: Request, card: Card | None = CARD) -> timing.Timing:
    shape = find(request.model)
    engine = make_plan(request, shape, card).engine
    found = timing.estimate(request, shape, card, engine)
    assert found is not None
    return found


def published(row: dict[str, Any]) -> timing.Estimate:
    return timed(Request(**row["request"]), find_card(row["card"])).step_s


def test_most_published_steps_lie_in_the_interval() -> None:
    """22 of 26 at least, none beyond half as much again, and no lean to one side above a third."""
    assert len(REACHED) == 26
    estimates = [published(row) for row in REACHED]
    measured = [row["s_per_step"] for row in REACHED]
    inside = [e.low <= s <= e.high for e, s in zip(estimates, measured, strict=True)]
    assert sum(inside) >= 22
    assert all(e.low / 1.5 <= s <= 1.5 * e.high for e, s in zip(estimates, measured, strict=True))
    lean = math.exp(sum(math.log(s / e.mid) for e, s in zip(estimates, measured, strict=True)) / len(measured))
    assert 0.75 < lean < 1.33


@pytest.mark.parametrize("row", SHORTER, ids=lambda row: str(row["id"]))
def test_completions_that_end_early_take_less(row: dict[str, Any]) -> None:
    assert row["s_per_step"] < published(row).high


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
@pytest.mark.parametrize("row", STEP_TIMES["decoding"]["tokens_per_s"], ids=lambda row: row["model"])
def test_decoding_as_qwen_measured_it(row: dict[str, Any], engine: str) -> None:
    card = replace(find_card("a100-80gb"), bandwidth_gbs=2039.0)
    one = Request(method="lora", max_prompt_length=1, max_completion_length=2048)
    slow, fast = (
        timing.decode_s(one, find(row["model"]), 1, timing._rates(card, shipped()["time"], side), vllm=engine == "vllm")
        for side in ("slow", "fast")
    )
    assert fast < 1 / row[engine] < slow


def test_a_decoded_token_by_hand() -> None:
    """Two sequences of 512 + 512 tokens: weights once, their keys and values, and 36 layers of 0.1 ms."""
    weights = 2 * (SHAPE.linear_parameters() + SHAPE.vocab * SHAPE.hidden)
    keys_and_values = 2 * 1024 * (2 * 36 * 256 * 2)
    by_hand = (weights + keys_and_values) / 1e12 + 36 * 1e-4
    assert timing.decode_s(ASKED, SHAPE, 2, RATES, vllm=True) == pytest.approx(by_hand)
    assert timing.decode_s(ASKED, SHAPE, 2, RATES, vllm=False) == 36 * 1e-3  # launching hides the reads
    unpacked = by_hand + SHAPE.linear_parameters() * (1e-12 - 2 / 1e12)
    assert timing.decode_s(replace(ASKED, method="qlora"), SHAPE, 2, RATES, vllm=True) == pytest.approx(unpacked)


def test_an_update_by_hand() -> None:
    """LoRA with checkpointing: two forward passes and a scoring one, one backward; the chunked head once more."""
    tokens, scored = 8 * 1536, 8 * 1024
    linear, head = 2 * SHAPE.linear_parameters() * tokens, 2 * SHAPE.vocab * SHAPE.hidden * scored
    attention = 4 * 36 * 2048 * 8 * 1536**2
    by_hand = (linear * (3 + 1) + attention * (3 + 2) + head * (1 + 1 + 1 + 1)) / 1e14
    assert timing.update_s(ASKED, SHAPE, RATES) == pytest.approx(4 * by_hand)


@pytest.mark.parametrize(
    ("changed", "passes"),
    [
        ({}, 1),  # TRL corrects for vLLM's kernels
        ({"framework": "unsloth"}, 0),
        ({"generation": "hf"}, 0),
        ({"generation": "hf", "beta": 0.04}, 1),
        ({"generation": "hf", "steps_per_generation": 8}, 1),  # rollouts outlive the step of 4
        ({"generation": "hf", "steps_per_generation": 2}, 0),
        ({"beta": 0.04, "task": "sft"}, 0),
    ],
)
def test_passes_that_only_score(changed: dict[str, Any], passes: int) -> None:
    assert timing.scoring_passes(replace(ASKED, **changed)) == passes


@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        ({"gradient_checkpointing": "hf"}, {"gradient_checkpointing": "none"}),
        ({"method": "full"}, {"method": "lora"}),
        ({"method": "qlora"}, {"method": "lora"}),
        ({"beta": 0.04}, {"beta": 0.0}),
        ({"attention": "eager"}, {"attention": "sdpa"}),
        ({"attention": "sdpa"}, {"attention": "flash"}),
        ({"generation": "hf"}, {"generation": "vllm"}),
        ({"max_completion_length": 2048}, {"max_completion_length": 1024}),
        ({"model": "Qwen/Qwen2.5-7B-Instruct"}, {"model": "Qwen/Qwen2.5-3B-Instruct"}),
    ],
)
def test_what_costs_time(slower: dict[str, Any], faster: dict[str, Any]) -> None:
    base = replace(ASKED, gpu_memory_utilization=0.9)
    card = find_card("h100 sxm")
    assert timed(replace(base, **slower), card).step_s.mid > timed(replace(base, **faster), card).step_s.mid


def test_a_cache_that_holds_half_the_round_takes_two_waves() -> None:
    engine = make_plan(replace(ASKED, gpu_memory_utilization=0.9), SHAPE, CARD).engine
    assert engine is not None
    at_once, in_waves = (replace(engine, setup=replace(engine.setup, max_num_seqs=n)) for n in (32, 16))
    one, two = (timing.rollout_s(ASKED, SHAPE, e, RATES) for e in (at_once, in_waves))
    per_token = timing.decode_s(ASKED, SHAPE, 16, RATES, vllm=True)
    assert two - one == pytest.approx(1024 * (2 * per_token - timing.decode_s(ASKED, SHAPE, 32, RATES, vllm=True)))


def test_figures_agree_with_each_other() -> None:
    found = timed(replace(ASKED, gpu_memory_utilization=0.9))
    assert found.rollout_s is not None
    assert found.rollout_tokens_per_s is not None
    for name in vars(found):
        assert getattr(found, name).low < getattr(found, name).mid < getattr(found, name).high
    assert found.step_s.mid == pytest.approx(found.rollout_s.mid + found.update_s.mid)
    assert found.hours_per_500_steps.mid == pytest.approx(500 * found.step_s.mid / 3600)
    assert found.rollout_tokens_per_s.mid * found.rollout_s.mid == pytest.approx(32 * 1024)
    assert found.update_tokens_per_s.mid * found.update_s.mid == pytest.approx(32 * 1536)
    assert found.as_json()["step_s"] == [float(f"{x:.4g}") for x in vars(found.step_s).values()]


def test_sft_has_no_rollouts() -> None:
    found = timed(replace(ASKED, task="sft"))
    assert (found.rollout_s, found.as_json()["rollout_tokens_per_s"]) == (None, None)
    assert found.step_s == found.update_s


def test_no_estimate_where_no_rate_is_known() -> None:
    """A bare number of GiB, no card, float32, and an engine that does not start."""
    engine = make_plan(ASKED, SHAPE, CARD).engine
    assert timing.estimate(ASKED, SHAPE, find_card("24"), engine) is None
    assert timing.estimate(ASKED, SHAPE, None, engine) is None
    assert timing.estimate(replace(ASKED, dtype="fp32"), SHAPE, CARD, engine) is None
    starved = replace(ASKED, gpu_memory_utilization=0.05)
    assert timing.estimate(starved, SHAPE, CARD, make_plan(starved, SHAPE, CARD).engine) is None


@pytest.mark.parametrize(
    ("card", "tflops"), [("4090", 82.6), ("t4", 8.1), ("a100-80gb", 19.5), ("l40s", 90.5), ("2080 ti", 14.2)]
)
def test_float32_rates_follow_from_tensor_rates(card: str, tflops: float) -> None:
    """As published, within 2 %: the datasheets round both."""
    whole = {name: {"mid": 1.0} for name in shipped()["time"] if name != "source"}
    assert timing._rates(find_card(card), whole, "mid").float32_flops == pytest.approx(1e12 * tflops, rel=0.02)
