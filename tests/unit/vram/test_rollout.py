"""vLLM's share of the card: by hand, by Unsloth's and vLLM's own rules, and against what runs printed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.paths import GOLDEN
from toolkit.units import GIB, gib
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.formula import rollout, sharing
from toolkit.vram.formula.costs import nf4_bytes
from toolkit.vram.request import Request

QWEN_3B = find("Qwen/Qwen2.5-3B-Instruct")  # 36 layers, 2 KV heads of 128
GEMMA = find("google/gemma-3-4b-it")  # 34 layers, 29 of them with a window of 1024; 4 KV heads of 256
LOGS = json.loads((GOLDEN / "vllm_logs.json").read_text(encoding="utf-8"))["rows"]


def logged(*needed: str) -> list[Any]:
    rows = [pytest.param(row, id=row["run"]) for row in LOGS if all(row[key] is not None for key in needed)]
    assert len(rows) >= 5
    return rows


UNSLOTH = Request(framework="unsloth", max_prompt_length=512, max_completion_length=1024)
TRL = replace(UNSLOTH, framework="trl")


def engine(free_gib: float = 23.2, **asked: Any) -> rollout.Engine:
    """Unsloth's over 2 GiB of shared weights."""
    request = replace(UNSLOTH, **asked)
    setup = sharing.with_unsloth(request, QWEN_3B, usable_gib=23.6, free_gib=free_gib, weights=2 * GIB)
    return rollout.plan_engine(QWEN_3B, setup, cuda_graphs_gib=2.4, kv_cache_dtype=request.kv_cache_dtype)


def colocated(free_gib: float = 23.2, **asked: Any) -> rollout.Engine:
    """TRL's with 16-bit weights of its own."""
    request = replace(TRL, **{"gradient_accumulation_steps": 32, **asked})
    setup = sharing.with_trl(request, usable_gib=23.6, free_gib=free_gib, weights=2 * QWEN_3B.parameters())
    return rollout.plan_engine(QWEN_3B, setup, cuda_graphs_gib=2.4)


@pytest.mark.parametrize("row", logged("non_torch_gib", "activation_gib"))
def test_the_kv_cache_gets_the_rest_of_the_share(row: dict[str, Any]) -> None:
    """Within 0.02 GiB: each printed figure is rounded to 0.005."""
    taken = row["weights_gib"] + row["non_torch_gib"] + row["activation_gib"]
    assert row["utilisation"] * row["card_gib"] - taken == pytest.approx(row["kv_gib"], abs=0.02)


@pytest.mark.parametrize("row", logged("concurrency"))
def test_as_many_sequences_as_vllm_printed(row: dict[str, Any]) -> None:
    """Within 0.5 %: the printed size of the cache is rounded to 0.005 GiB."""
    layout = rollout.kv_layout(find(row["model"]))
    n = row["kv_gib"] * GIB / layout.sequence_bytes(row["max_model_len"])
    assert n == pytest.approx(row["concurrency"], rel=0.005)


@pytest.mark.parametrize("row", logged("in_4bit"))
def test_weights_and_slots_for_an_adapter(row: dict[str, Any]) -> None:
    """Within 0.15 GiB: some 4-bit copies keep a few layers in 16 bit, and V0 had LoRA slots for the embedding."""
    shape = find(row["model"])
    linear = shape.linear_parameters()
    weights = (nf4_bytes(linear) if row["in_4bit"] else 2 * linear) + 2 * (shape.parameters() - linear)
    lora = 2 * shape.lora_parameters(sharing.lora_rank_in_vllm(row["lora_rank"]), tuple(shape.linears()))
    assert gib(weights + lora) == pytest.approx(row["weights_gib"], abs=0.15)


def test_a_whole_engine_against_its_log() -> None:
    """The one V1 engine whose log is complete but for its graphs, which then lay outside its share."""
    row = next(row for row in LOGS if row["card"] == "L4")
    shape = find(row["model"])
    asked = Request(
        method="full",  # as if: its log has the adapter's slots among the weights
        gpu_memory_utilization=row["utilisation"],
        max_prompt_length=512,
        max_completion_length=row["max_model_len"] - 512,
    )
    card_gib, weights = row["card_gib"], int(row["weights_gib"] * GIB)
    setup = sharing.with_unsloth(asked, shape, usable_gib=card_gib, free_gib=card_gib, weights=weights)
    planned = rollout.plan_engine(shape, setup, cuda_graphs_gib=0.0)
    assert gib(planned.kv_cache) == pytest.approx(row["kv_gib"], abs=0.1)
    assert planned.kv_tokens == pytest.approx(563_744, rel=0.006)  # as printed
    assert planned.n_concurrent(2048) == setup.max_num_seqs == 80


@pytest.mark.parametrize(
    ("batched_tokens", "max_num_seqs", "peak_gib"),
    [(2048, 8, 0.18), (4096, 8, 0.32), (8192, 8, 0.62), (8192, 64, 0.62), (16384, 8, 1.20), (32768, 8, 2.38)],
)
def test_profiled_forward_pass_as_unsloth_measured_it(batched_tokens: int, max_num_seqs: int, peak_gib: float) -> None:
    """unsloth_zoo 2026.10.9, load_vllm: torch's peak beside 0.13 GiB outside it; Qwen3-4B."""
    planned = rollout.profiled_bytes(find("Qwen/Qwen3-4B"), batched_tokens, max_num_seqs)
    assert gib(planned) - 0.13 == pytest.approx(peak_gib, abs=0.03)


@pytest.mark.parametrize(
    ("max_num_seqs", "sizes"),
    [(8, (5, 4)), (64, (19, 11)), (256, (51, 35))],  # the last two: vllm-windows-build#4, vllm#39559
)
def test_as_many_graphs_as_vllm_captures(max_num_seqs: int, sizes: tuple[int, int]) -> None:
    assert (rollout._capture_sizes(2 * max_num_seqs), rollout._capture_sizes(max_num_seqs)) == sizes


def test_graphs_take_what_was_measured_where_it_was() -> None:
    """unsloth#3542 captured 67 + 39 graphs, each once; today's 51 + 39 are captured with and without LoRA."""
    planned = rollout.graph_bytes(find("Qwen/Qwen3-4B"), 320, 2.28, lora=True)
    assert gib(planned) == pytest.approx(2.28 * 1.47 * (51 + 39) / (67 + 39))


def test_kv_bytes_by_hand() -> None:
    assert rollout.kv_bytes_per_token(QWEN_3B) == 2 * 36 * 256 * 2
    assert rollout.kv_layout(QWEN_3B, "fp8").full == 2 * 36 * 256


def test_a_window_is_all_that_sliding_layers_keep() -> None:
    """SlidingWindowSpec of vLLM 0.31: the window less one, what is in flight, and a block for its odd start."""
    layout, a_layer = rollout.kv_layout(GEMMA), 2 * 4 * 256 * 2
    assert layout.sequence_bytes(1024) == 34 * 1024 * a_layer
    assert layout.sequence_bytes(16384) == (5 * 16384 + 29 * (1024 + 16)) * a_layer
    assert layout.sequence_bytes(16384, in_flight=8192) == (5 * 16384 + 29 * (1024 + 8192 + 16)) * a_layer


@pytest.mark.parametrize(
    ("usable_gib", "share"),
    [(79.2, 0.87875), (31.8, 0.855), (23.6, 0.78375), (15.6, 0.76), (11.6, 0.73625), (7.8, 0.7125)],
)
def test_standby_takes_its_own_share(usable_gib: float, share: float) -> None:
    assert sharing.standby_share(usable_gib) == share


@pytest.mark.parametrize(("rank", "reserved"), [(4, 8), (8, 8), (20, 32), (64, 64), (300, 320)])
def test_ranks_are_rounded_up(rank: int, reserved: int) -> None:
    assert sharing.lora_rank_in_vllm(rank) == reserved


def test_what_unsloth_expects_is_not_what_vllm_finds() -> None:
    """By hand: 5 bits a weight of the projections, 2 bytes of the rest; graphs, 172 x 4 x 2048 x 36, at their floor."""
    linear = QWEN_3B.linear_parameters()
    nf4 = int(nf4_bytes(linear) + 2 * (QWEN_3B.parameters() - linear))
    left = sharing.unsloth_kv_bytes(QWEN_3B, 10 * GIB, nf4, GIB)
    assert left == pytest.approx(10 * GIB - 0.625 * linear - 2 * (QWEN_3B.parameters() - linear) - 1.15 * GIB)
    assert sharing.unsloth_longest(QWEN_3B, 1000 * 36864, "auto") == 768  # 95 % are 950 tokens, in steps of 256


def test_weights_are_shared_or_copied() -> None:
    shared, copied = engine(), colocated(gradient_accumulation_steps=4)
    assert shared.setup.own_weights == 0
    assert copied.setup.own_weights == 2 * 3_085_938_688
    assert shared.total + 2 * GIB == pytest.approx(0.6 * 23.2 * GIB, abs=4)
    assert copied.total == pytest.approx(0.6 * 23.6 * GIB, abs=4)
    setup = copied.setup
    assert (setup.lora, setup.max_num_seqs, setup.max_num_batched_tokens) == (0, 32, 4096)


def test_what_is_asked_for_is_not_what_standby_gives() -> None:
    assert engine(standby=True).setup.gpu_memory_utilization == 0.78375
    assert engine(standby=True, gpu_memory_utilization=0.3) == engine(standby=True)


def test_concurrency_is_bounded_by_cache_and_by_schedule() -> None:
    assert engine().n_concurrent(10**6) == 0
    assert engine().n_concurrent(1) == engine().setup.max_num_seqs == 48
    starved = engine(gpu_memory_utilization=0.05)
    assert (starved.kv_cache, starved.kv_tokens, starved.longest, starved.n_concurrent(1536)) == (0, 0, 0, 0)
    assert list(starved.as_json().values()) == [0, 0, 0, 8, 0.05]
    assert engine().as_json()["max_concurrent_sequences"] == engine().n_concurrent(1536) == 48


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.3), st.sampled_from([engine, colocated]))
def test_more_of_the_card_is_never_fewer_tokens(share: float, more: float, start: Any) -> None:
    little, much = (start(gpu_memory_utilization=s, max_completion_length=1) for s in (share, share + more))
    # a larger cache brings a larger schedule, whose profiled pass and graphs may take up to 0.6 GiB of it
    assert much.kv_cache >= little.kv_cache - (0.6 * GIB if start is engine else 0)
    assert much.kv_tokens * 36864 <= much.kv_cache


@pytest.mark.parametrize(
    ("asked", "changed", "says"),
    [
        (UNSLOTH, {}, ""),
        (replace(UNSLOTH, gpu_memory_utilization=0.05), {}, "not start: its KV cache holds 0 tokens, less than one"),
        (replace(TRL, gpu_memory_utilization=0.27), {}, "less than one sequence of 1,536"),
        (replace(TRL, gpu_memory_utilization=0.9), {"free_gib": 20.0}, "1.24 GiB more than is"),
        (replace(UNSLOTH, standby=True), {"standby": True}, "asked 60%, vLLM takes 78%"),
    ],
)  # fmt: skip
def test_what_will_not_go_as_asked_is_said(asked: Request, changed: dict[str, Any], says: str) -> None:
    start = engine if asked.framework == "unsloth" else colocated
    planned = start(gpu_memory_utilization=asked.gpu_memory_utilization, **changed)
    found = rollout.warnings(planned, asked, find_card("4090"))
    assert len(found) == bool(says), found
    assert not says or says in found[0]


def test_unsloth_limits_what_vllm_could_hold() -> None:
    """It expects 5 bits a weight where NF4 takes 4.1: on a 7B that is 0.7 GiB of KV cache it does not count on."""
    shape = find("Qwen/Qwen2.5-7B-Instruct")
    linear = shape.linear_parameters()
    asked = replace(UNSLOTH, max_prompt_length=1024, max_completion_length=3072, gpu_memory_utilization=0.56)
    weights = int(nf4_bytes(linear) + 2 * (shape.parameters() - linear))
    setup = sharing.with_unsloth(asked, shape, usable_gib=11.6, free_gib=11.2, weights=weights)
    planned = rollout.plan_engine(shape, setup, cuda_graphs_gib=2.4)
    assert planned.longest < 4096 < planned.kv_tokens
    (found,) = rollout.warnings(planned, asked, None)
    assert f"limits sequences to {planned.longest:,} tokens; 4,096 are asked" in found


def test_fp8_needs_a_card_that_has_it() -> None:
    asked = replace(UNSLOTH, kv_cache_dtype="fp8")
    assert "7.5" in rollout.warnings(engine(kv_cache_dtype="fp8"), asked, find_card("t4"))[0]
    assert rollout.warnings(engine(kv_cache_dtype="fp8"), asked, find_card("4090")) == ()
