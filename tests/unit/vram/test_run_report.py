"""The plan on a screen: what it says at 80 and 120 columns, and without unicode."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from toolkit.units import format_gib
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.formula.timing import estimate
from toolkit.vram.plan import Plan, make_plan
from toolkit.vram.request import Request
from toolkit.vram.search.suggest import Change
from toolkit.vram.views.report import Bar, render

ASKED = Request(model="Qwen/Qwen2.5-1.5B-Instruct")
LONG = replace(ASKED, max_prompt_length=1024, max_completion_length=15_360, method="lora")
CHANGES = [
    Change({"per_device_train_batch_size": 1, "gradient_accumulation_steps": 32}, 28.5),
    Change({"gpu_memory_utilization": 0.65}, -0.46),
]


def planned(request: Request = ASKED, gpu: str | None = "4090") -> Plan:
    return make_plan(request, find(request.model), find_card(gpu) if gpu else None)


def shown(plan: Plan, width: int = 80, encoding: str = "utf-8", changes: list[Change] | None = CHANGES) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, color_system=None, _environ={})
    console.print(render(plan, changes))
    stream.flush()
    stream.seek(0)
    return stream.read()


@pytest.mark.parametrize("gpu", ["4090", "t4", "8", None])
@pytest.mark.parametrize("request_", [ASKED, LONG, replace(ASKED, task="sft"), replace(ASKED, generation="hf")])
@pytest.mark.parametrize("width", [80, 120])
def test_nothing_runs_over_or_wraps_in_the_middle(request_: Request, gpu: str | None, width: int) -> None:
    """A fact that wraps goes on under itself, not under its label."""
    for line in shown(planned(request_, gpu), width).splitlines():
        assert len(line) <= width
        assert re.match(r"[A-Za-z█░▒]|\d+ steps| {2,}\S|$", line), line


def test_every_part_of_every_phase_stands_in_the_table() -> None:
    plan = planned()
    rows = {line.split("  ")[0]: line.split()[-3:] for line in shown(plan).splitlines()}
    phases = [plan.phases[name] for name in ("load", "rollout", "update")]
    assert rows["process"] == [f"{phase.total_gib:.2f}" for phase in phases]
    assert rows["weights"] == [f"{phase.parts_gib['weights']:.2f}" for phase in phases]
    assert rows["vLLM KV cache"][1:] == [f"{plan.phases['rollout'].parts_gib['kv_cache']:.2f}"] * 2


def test_cache_and_times_are_said_with_their_intervals() -> None:
    plan = planned()
    assert plan.engine is not None
    text = " ".join(shown(plan, 120).split())
    assert f"KV cache {plan.engine.kv_tokens:,} tokens: {plan.engine.n_concurrent(1536)} sequences of 1,536" in text
    found = estimate(plan.request, plan.shape, plan.card, plan.engine)
    assert found is not None
    rate = found.update_tokens_per_s
    low, mid, high = (f"{float(f'{x:.2g}'):,.0f}" for x in (rate.low, rate.mid, rate.high))
    assert f"update {mid} tokens/s ({low} to {high})" in text
    assert re.search(r"a step \d+s \(\d+s to [\dms ]+\) 500 steps [\dhm ]+ \([\dhm ]+ to [\dhm ]+\) estimates", text)


def test_waves_are_said_where_a_round_does_not_fit() -> None:
    plan = planned(LONG)
    assert plan.engine is not None
    n = plan.engine.n_concurrent(16_384)
    assert n < 32
    assert f"{n} sequences of 16,384 at once, a round of 32 in {-(-32 // n)} waves" in shown(plan, 120)


@pytest.mark.parametrize("gpu", ["24", None])
def test_no_times_without_rates(gpu: str | None) -> None:
    assert "tokens/s" not in shown(planned(gpu=gpu))


def test_whether_it_fits_and_what_makes_it_run() -> None:
    assert "fits on RTX 4090: peak" in shown(planned())
    assert "peak:" not in shown(planned())
    text = shown(planned(LONG, "8"))
    assert "does not fit on 8 GiB: peak" in text
    assert "  -28.5 GiB  --per_device_train_batch_size 1 --gradient_accumulation_steps 32" in text
    assert "  +0.46 GiB  --gpu_memory_utilization 0.65" in text
    assert "a smaller model, or a larger card" in shown(planned(LONG, "8"), changes=None)
    starved = planned(replace(ASKED, gpu_memory_utilization=0.05))
    assert "leaves vLLM too little cache on RTX 4090" in shown(starved)
    assert "note" in shown(starved)


def test_plain_where_there_is_no_unicode() -> None:
    assert shown(planned(), encoding="ascii").isascii()
    assert not shown(planned()).isascii()


@pytest.mark.parametrize(
    ("peak", "high", "bar"),
    [(5.0, 7.5, "#" * 24 + "=" * 12 + "-" * 12), (10.0, 12.0, "#" * 48), (30.0, 31.0, "#" * 48), (0.0, 0.0, "-" * 48)],
)
def test_the_bar_is_full_to_the_peak_and_shaded_to_its_upper_end(peak: float, high: float, bar: str) -> None:
    assert drawn(peak, high, 80) == f"{bar} {peak / 10:.0%} of {format_gib(10.0)}\n"


def test_the_bar_leaves_room_for_its_figures() -> None:
    assert drawn(5.0, 7.5, 36) == "#" * 10 + "=" * 5 + "-" * 5 + " 50% of 10.0 GiB\n"


def drawn(peak: float, high: float, width: int) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=stream, width=width, color_system=None, _environ={}).print(Bar(peak, high, 10.0, "green"))
    stream.seek(0)
    return stream.read()
