"""The nearest settings that fit: they do, and nothing of them can be taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.unit.vram.requests import CARDS, SHAPES, requests
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.plan import can_run, fit_of, make_plan
from toolkit.vram.request import Request, check
from toolkit.vram.search.concessions import concessions
from toolkit.vram.search.suggest import nearest_that_fits
from toolkit.vram.shapes import Shape

QWEN_3B, RTX_4090 = find("Qwen/Qwen2.5-3B-Instruct"), find_card("4090")


def changes_of(request: Request, shape: Shape, card: Card) -> list[dict[str, Any]]:
    nearest = nearest_that_fits(request, shape, card)
    assert nearest is not None
    return [change.settings for change in nearest[1]]


@settings(max_examples=100, deadline=None)
@given(requests(), SHAPES, CARDS)
def test_it_fits_and_no_change_can_be_taken_back(request: Request, shape: Shape, card: Card) -> None:
    nearest = nearest_that_fits(request, shape, card)
    assume(nearest is not None)
    assert nearest is not None
    plan, changes = nearest
    assert can_run(make_plan(plan.request, shape, card))
    assert (plan.request == request) == (not changes) == can_run(make_plan(request, shape, card))
    check(plan.request)
    saved = make_plan(request, shape, card).peak_process_gib - plan.peak_process_gib
    assert sum(change.saves_gib for change in changes) == pytest.approx(saved)
    for change in changes:
        undone = replace(plan.request, **{flag: getattr(request, flag) for flag in change.settings})
        assert not can_run(make_plan(undone, shape, card)), f"{change} was not needed"


@settings(max_examples=100, deadline=None)
@given(requests(), SHAPES, CARDS)
@example(
    Request(
        framework="unsloth",
        method="qlora",
        lora_rank=4,
        per_device_train_batch_size=3,
        num_generations=16,
        gradient_accumulation_steps=1,
        steps_per_generation=48,
        max_prompt_length=401,
        max_completion_length=2945,
        optim="adamw_torch",
        loss_head="logits",
        generation="hf",
        bnb_4bit_use_double_quant=False,
    ),
    find("Qwen/Qwen2.5-0.5B-Instruct"),
    find_card("RTX 3060"),
)  # its length was shortened by the later of two concessions, and the room for more came then
def test_lengths_and_passes_are_no_smaller_than_needed(request: Request, shape: Shape, card: Card) -> None:
    nearest = nearest_that_fits(request, shape, card)
    assume(nearest is not None)
    assert nearest is not None
    found, name = nearest[0].request, request.length_name
    asked, shorter = getattr(request, name), getattr(found, name)
    if shorter < asked:
        assert shorter % 64 == 0
        assert not can_run(make_plan(found.with_length(min(asked, shorter + 64)), shape, card))
    assert found.batch.generation_batch_size == request.batch.generation_batch_size, "the same round in other passes"
    size, smaller = request.per_device_train_batch_size, found.per_device_train_batch_size
    if smaller < size:
        larger = next(n for n in range(smaller + 1, size + 1) if size % n == 0)
        assert not can_run(make_plan(replace(found, per_device_train_batch_size=larger), shape, card))


LARGE = st.sampled_from(["Qwen/Qwen3-8B", "Qwen/Qwen2.5-32B-Instruct"]).map(find)


SMALL = st.sampled_from(["8", "10", "16"]).map(find_card)


@settings(max_examples=40, deadline=None)
@given(requests(task="grpo", steps_per_generation=None), LARGE, SMALL)
def test_where_nothing_is_found_even_the_most_frugal_run_is_too_large(
    request: Request, shape: Shape, card: Card
) -> None:
    assume(request.batch.generation_batch_size % request.num_generations == 0)
    assume(nearest_that_fits(request, shape, card) is None)
    prompts = -(-(request.max_prompt_length // 2) // 64) * 64
    frugal = replace(
        request, method="qlora", lora_rank=min(16, request.lora_rank), optim="adamw_8bit", dtype="bf16", beta=0.0,
        attention="sdpa", loss_head=None, gradient_checkpointing=None, upcast_embeddings=False,
        bnb_4bit_use_double_quant=True, generation="hf", standby=False,
        per_device_train_batch_size=1, gradient_accumulation_steps=request.batch.generation_batch_size,
        max_prompt_length=min(request.max_prompt_length, max(64, prompts)),
        max_completion_length=min(128, request.max_completion_length),
    )  # fmt: skip
    shares = [k / 20 for k in range(4, 20)] if request.generation == "vllm" else []
    tries = [frugal, *(replace(frugal, generation="vllm", gpu_memory_utilization=share) for share in shares)]
    tries += [replace(run, standby=True) for run in tries if run.generation == "vllm"]
    assert not any(can_run(make_plan(run, shape, card)) for run in tries)


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ({"loss_head": "logits", "max_completion_length": 2048}, {"loss_head": "unsloth"}),
        ({"gradient_checkpointing": "none"}, {"gradient_checkpointing": "unsloth"}),
        ({"framework": "trl", "task": "sft", "gradient_checkpointing": "none"}, {"gradient_checkpointing": "hf"}),
        ({"gpu_memory_utilization": 0.95}, {"standby": True}),
    ],
)
def test_one_cause_gets_one_remedy(asked: dict[str, Any], change: dict[str, Any]) -> None:
    assert changes_of(replace(Request(), **asked), QWEN_3B, RTX_4090) == [change]


def test_what_costs_only_time_goes_before_what_is_learnt_from() -> None:
    request = Request(max_completion_length=8192, gradient_checkpointing="none", method="lora")
    flags = [flag for change in changes_of(request, find("Qwen/Qwen2.5-7B-Instruct"), RTX_4090) for flag in change]
    assert flags[:2] == ["standby", "gradient_checkpointing"]
    assert "max_completion_length" not in flags
    order = [flag for concession in concessions(request, RTX_4090) for flag in concession.values[0]]
    assert [order.index(flag) for flag in flags] == sorted(order.index(flag) for flag in flags)


def test_standby_is_given_up_where_its_own_share_is_too_large() -> None:
    shape = find("Qwen/Qwen2.5-3B-Instruct")
    request = Request(
        standby=True, lora_rank=512, gpu_memory_utilization=0.4,
        per_device_train_batch_size=1, gradient_accumulation_steps=32,
    )  # fmt: skip
    awake, found = replace(request, standby=False), 0
    for card in (find_card(f"{quarters / 4}") for quarters in range(40, 120)):
        if not can_run(make_plan(request, shape, card)) and can_run(make_plan(awake, shape, card)):
            assert changes_of(request, shape, card) == [{"standby": False}]
            found += 1
    assert found


def test_a_cache_without_room_for_one_sequence_does_not_count_as_a_fit() -> None:
    card = find_card("24")
    asked = [Request(gpu_memory_utilization=percent / 100, framework="trl") for percent in range(30, 4, -1)]
    request = next(r for r in asked if fit_of(make_plan(r, QWEN_3B, card)) == "no cache")
    assert make_plan(request, QWEN_3B, card).fits
    nearest = nearest_that_fits(request, QWEN_3B, card)
    assert nearest is not None
    assert [list(change.settings) for change in nearest[1]] == [["gpu_memory_utilization"]]
    assert nearest[0].engine is not None
    assert nearest[0].engine.kv_tokens >= request.max_model_len
    assert nearest[1][0].saves_gib < 0


def test_what_can_never_fit_is_said() -> None:
    assert nearest_that_fits(Request(), find("Qwen/Qwen2.5-72B-Instruct"), find_card("3060")) is None
