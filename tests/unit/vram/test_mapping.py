"""Settings and requests by one table: both sides exist, what goes there comes back, and a run that differs is seen."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings

from tests.unit.vram.requests import SHAPES, requests
from toolkit.settings import GrpoSettings, ModelSettings, flatten
from toolkit.settings.parse import parse
from toolkit.vram.mapping import ROWS, flags_between, lost, ran_otherwise, request_of, settings_of
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape

RECORDED = {
    "load_in_4bit": True, "lora_rank": 32, "use_vllm": True, "num_generations": 8, "max_completion_length": 1024,
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "steps_per_generation": 4, "beta": 0.0,
}  # fmt: skip


def test_every_row_names_a_setting_and_a_field() -> None:
    assert {row.setting for row in ROWS} <= set(flatten(GrpoSettings()))
    assert {row.field for row in ROWS} <= {f.name for f in fields(Request)}
    assert [row.setting for row in ROWS if row.is_recorded] == list(RECORDED)


SAYABLE: dict[str, Any] = {
    "task": "grpo", "loss_head": None, "attention": "sdpa", "dtype": "bf16", "upcast_embeddings": False,
    "bnb_4bit_use_double_quant": True,
}  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(requests(**SAYABLE), SHAPES)
def test_a_plans_settings_are_planned_as_the_plan(request: Request, shape: Shape) -> None:
    recipe = parse(GrpoSettings, [], [("the plan", settings_of(request, shape))])
    has_vllm = request.generation == "vllm"
    back = request_of(recipe, has_bf16=True, framework=request.framework, has_vllm=has_vllm)
    assert lost(request, back, shape) == ("method" if request.method == "full" else None)


def test_flags_lead_from_one_plan_to_another() -> None:
    before = Request(method="lora", lora_rank=64, standby=True)
    after = replace(before, method="qlora", lora_rank=16, generation="hf", standby=False, gpu_memory_utilization=0.5)
    model = ModelSettings(lora_rank=64, lora_alpha=96)
    assert list(flags_between(before, after, model, {"standby"})) == [
        *("--load_in_4bit true", "--lora_rank 16", "--lora_alpha 24", "--use_vllm false"),
        "--gpu_memory_utilization 0.5",
    ]
    assert list(flags_between(before, before, model, set())) == []


@pytest.mark.parametrize("name", list(RECORDED))
def test_a_run_that_was_not_what_was_planned(name: str) -> None:
    assert ran_otherwise(Request(), RECORDED) is None
    changed = not RECORDED[name] if isinstance(RECORDED[name], bool) else RECORDED[name] + 1
    assert ran_otherwise(Request(), RECORDED | {name: changed}) == (name, changed, RECORDED[name])
