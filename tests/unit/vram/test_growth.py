"""`toolkit plan --fit`: the next larger size does not fit, no offer is beaten, and the preset is what was planned."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from tests.unit.vram.requests import CARDS, SHAPES, requests
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.plan import can_run, make_plan, surely_fits
from toolkit.vram.request import Request, check
from toolkit.vram.search.growth import candidates, groups, limit_of, not_dominated, sizes, sizes_of, with_size
from toolkit.vram.shapes import Shape

QWEN_3B, RTX_4090 = find("Qwen/Qwen2.5-3B-Instruct"), find_card("4090")


@settings(max_examples=40, deadline=None)
@given(requests(), SHAPES, CARDS)
def test_a_limit_fits_and_the_next_value_does_not(request: Request, shape: Shape, card: Card) -> None:
    for size in sizes(request, shape):
        limit = limit_of(size, request, shape, card)
        for plan, is_good in ((limit.fits, can_run), (limit.surely_fits, surely_fits)):
            if plan is not None:
                check(plan.request)
                assert is_good(plan)
                assert plan == make_plan(with_size(request, size.name, getattr(plan.request, size.name)), shape, card)
            n_tried = 0 if plan is None else size.values.index(getattr(plan.request, size.name)) + 1
            if n_tried < len(size.values):
                assert not is_good(make_plan(with_size(request, size.name, size.values[n_tried]), shape, card)), (
                    size.name
                )


@settings(max_examples=20, deadline=None)
@given(requests(), SHAPES, CARDS)
def test_no_offer_is_beaten_and_none_is_missing(request: Request, shape: Shape, card: Card) -> None:
    found = list(candidates(request, shape, card))
    kept = not_dominated(found)
    mine = [sizes_of(plan) for plan in kept]
    assert len(set(mine)) == len(mine)
    for other in map(sizes_of, found):
        beaten = [size for size in mine if size != other and all(a <= b for a, b in zip(size, other, strict=True))]
        assert not beaten
        assert any(all(a >= b for a, b in zip(size, other, strict=True)) for size in mine)


@settings(max_examples=20, deadline=None)
@given(requests(task="grpo"), SHAPES, CARDS)
def test_offers_keep_the_passes_and_the_prompts(request: Request, shape: Shape, card: Card) -> None:
    for plan in candidates(request, shape, card):
        check(plan.request)
        assert can_run(plan)
        assert plan.request.batch.steps_per_generation == request.batch.steps_per_generation
        assert plan.request.batch.prompts_per_generation >= request.batch.prompts_per_generation


def test_groups_by_hand() -> None:
    request = Request(num_generations=8, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    assert groups(request, 4) == [2, 4, 8]  # of 16 completions, at least the 2 prompts asked for
    assert groups(request, 1) == [2]
    assert groups(replace(request, gradient_accumulation_steps=2), 1) == [2]


def test_the_offers_hold_the_limit_of_the_length() -> None:
    request = Request()
    longest = limit_of(sizes(request, QWEN_3B)[0], request, QWEN_3B, RTX_4090).fits
    assert longest is not None
    offers = [sizes_of(plan) for plan in candidates(request, QWEN_3B, RTX_4090)]
    assert sizes_of(longest) in offers
