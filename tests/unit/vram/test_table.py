"""`toolkit plan --table`: cells are plans, batches stay whole, and every form says the same."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.unit.vram.requests import CARDS, SHAPES, requests
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.plan import can_run, fit_of, make_plan
from toolkit.vram.request import Request, check
from toolkit.vram.search.growth import last_that_works, with_num_generations
from toolkit.vram.shapes import Shape
from toolkit.vram.views.fits import MARKS
from toolkit.vram.views.sheet import Cell, Panel, Sheet
from toolkit.vram.views.table import COMMON_CARDS, over_cards, over_lengths

QWEN_3B = find("Qwen/Qwen2.5-3B-Instruct")


ONE_OF_EACH = Sheet(
    title="an-owner/a-model-with-a-rather-long-name-Instruct on RTX PRO 6000 Blackwell",
    measure="peak GiB of 94.97 usable",
    settings="grpo with unsloth, qlora of rank 32, " * 4,
    row_name="per_device_train_batch_size",
    column_name="max_completion_length",
    columns=("256", "512", "1,024", "32,768"),
    panels=(Panel("gradient_checkpointing hf", (("8", tuple(Cell("12.3", 0.5, v) for v in MARKS)),)),),
    shade="darker the fuller",
    notes=("per_device_train_batch_size follows num_generations, " * 3,),
    records=({"a": 1},),
    about={},
)


@settings(max_examples=40, deadline=None)
@given(requests(), SHAPES, CARDS)
def test_every_cell_is_the_plan_of_its_settings(request: Request, shape: Shape, card: Card) -> None:
    sheet = over_lengths(request, shape, card)
    shown = [cell for panel in sheet.panels for _, cells in panel.rows for cell in cells]
    assert len(shown) == len(sheet.records) >= len(sheet.panels) * len(sheet.columns) * 4
    for cell, record in zip(shown, sheet.records, strict=True):
        run = replace(
            request,
            **{
                name: value for name, value in record.items() if hasattr(request, name) and name not in ("model", "gpu")
            },
        )
        check(run)
        plan = make_plan(run, shape, card)
        assert record["peak_process_gib"] == pytest.approx(plan.peak_process_gib, abs=1e-4)
        assert record["verdict"] == cell.fit == fit_of(plan)
        assert record["fits"] == can_run(plan)
        assert float(cell.text) == pytest.approx(plan.peak_process_gib, abs=0.5)


@given(requests(task="grpo"), st.integers(2, 64))
def test_the_batch_follows_the_group_and_the_prompts_stay(request: Request, n: int) -> None:
    moved = with_num_generations(request, n)
    check(moved)
    assert moved.batch.prompts_per_generation == request.batch.prompts_per_generation
    share, rest = divmod(request.per_device_train_batch_size * n, request.num_generations)
    if rest == 0:
        assert moved.per_device_train_batch_size == share
        assert moved.batch.steps_per_generation == request.batch.steps_per_generation
    else:
        assert 1 <= moved.per_device_train_batch_size <= max(1, share)


def test_the_batch_follows_the_group_by_hand() -> None:
    small = Request(num_generations=8, per_device_train_batch_size=1, gradient_accumulation_steps=16)
    moved = with_num_generations(small, 4)  # half a completion a pass cannot be: one, in half as many passes
    assert (moved.per_device_train_batch_size, moved.gradient_accumulation_steps) == (1, 8)
    moved = with_num_generations(small, 24)
    assert (moved.per_device_train_batch_size, moved.gradient_accumulation_steps) == (3, 16)


@given(st.integers(0, 30), st.integers(1, 30))
def test_the_search_finds_the_last_that_works(limit: int, n: int) -> None:
    values = range(7, 7 + 3 * n, 3)
    works = [value for value in values if value <= limit]
    assert last_that_works(values, lambda value: value <= limit) == (works[-1] if works else None)


def test_lengths_stay_within_the_models_positions() -> None:
    tiny = replace(QWEN_3B, max_position_embeddings=2048)
    sheet = over_lengths(Request(max_completion_length=1536), tiny, find_card("4090"))
    assert sheet.columns == ("256", "512", "1,024", "1,536")
    longest = max(record["longest"] for record in over_cards(Request(), tiny).records)
    assert longest == 1536


def test_the_common_cards_are_known_by_measure_and_span_the_sizes() -> None:
    cards = [find_card(name) for name in COMMON_CARDS]
    assert {12, 16, 24, 32, 48, 80} == {card.label_gib for card in cards}
    assert not any(card.usable_is_estimated for card in cards)
    assert [card.usable_gib for card in cards] == sorted(card.usable_gib for card in cards)


def test_over_cards_one_more_step_does_not_fit() -> None:
    request = Request(num_generations=16, per_device_train_batch_size=16)
    records = over_cards(request, QWEN_3B).records
    assert len(records) == len(COMMON_CARDS) * 4
    for record in records:
        run = with_num_generations(request, record["num_generations"])
        card = find_card(record["gpu"])
        assert record["surely_fits"] <= record["longest"]
        for tokens, runs in ((record["longest"], True), (record["longest"] + 64, False)):
            if tokens:
                plan = make_plan(replace(run, max_completion_length=tokens), QWEN_3B, card)
                assert can_run(plan) == runs, (record, tokens)


def test_markdown_is_one_table_with_a_mark_for_every_fit() -> None:
    lines = [line for line in ONE_OF_EACH.markdown().splitlines() if line.startswith("|")]
    assert lines == [
        "| per_device_train_batch_size \\ max_completion_length | 256 | 512 | 1,024 | 32,768 |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| 8 | 12.3 | 12.3 ~ | 12.3 kv | 12.3 ✗ |",
    ]
    sheet = over_lengths(Request(), QWEN_3B, find_card("4090"))
    lines = [line for line in sheet.markdown().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(sheet.columns) + 3}
    assert [line.split("|")[1].strip() for line in lines[2::4]] == ["none", "hf", "unsloth"]


def test_csv_has_the_records() -> None:
    sheet = over_lengths(Request(task="sft"), QWEN_3B, find_card("3060"))
    rows = list(csv.DictReader(io.StringIO(sheet.csv())))
    assert rows == [{name: str(value) for name, value in record.items()} for record in sheet.records]


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_is_wide_enough(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), color_system=None, _environ={})
    console.print(over_lengths(Request(max_completion_length=1500), QWEN_3B, find_card("3060")).render())
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    rows = [line for line in lines if line.split(" ")[0] in ("4", "8", "16", "32")]
    assert len(rows) == 12
    assert all(len([word for word in row.split() if "." in word or word.isdigit()]) == 8 for row in rows)


def test_the_picture_shows_every_fit_and_nothing_beside_the_page() -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread
    from matplotlib.text import Text

    from toolkit.vram.views.heat_map import COLOURS, draw, figure_of

    picture = imread(io.BytesIO(draw(ONE_OF_EACH)))[..., :3]
    for fit, colour in COLOURS.items():
        near = (abs(picture - to_rgb(colour)).max(axis=-1) < 0.01).sum()
        assert near > 5000, fit  # a field is 170 x 68 dots
    figure = figure_of(ONE_OF_EACH)
    for text in figure.findobj(Text):
        box = text.get_window_extent()
        if text.get_text():
            assert figure.bbox.x0 < box.x0 < box.x1 < figure.bbox.x1, text.get_text()
            assert figure.bbox.y0 < box.y0 < box.y1 < figure.bbox.y1, text.get_text()
