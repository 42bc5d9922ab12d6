"""vLLM's share of the card: Unsloth's arithmetic by hand, and against what a run printed."""

from __future__ import annotations

import pytest

from toolkit.units import GIB
from toolkit.vram import rollout
from toolkit.vram.shapes import find

QWEN_3B = find("Qwen/Qwen2.5-3B-Instruct")  # 36 layers, 2 KV heads of 128


def test_kv_bytes_by_hand() -> None:
    assert rollout.kv_bytes_per_token(QWEN_3B) == 2 * 36 * 256 * 2
    assert rollout.kv_bytes_per_token(QWEN_3B, "fp8") == 2 * 36 * 256 * 1.25


def test_tokens_are_whole_blocks_with_a_margin() -> None:
    per_token = 2 * 36 * 256 * 2
    assert rollout.tokens_in(1000 * per_token, QWEN_3B) == 768  # 950, in steps of 256
    assert rollout.tokens_in(-5, QWEN_3B) == 0


@pytest.mark.parametrize(
    ("usable_gib", "share"),
    [(79.2, 0.87875), (31.8, 0.855), (23.6, 0.78375), (15.6, 0.76), (11.6, 0.73625), (7.8, 0.7125)],
)
def test_standby_takes_its_own_share(usable_gib: float, share: float) -> None:
    assert rollout.standby_share(usable_gib) == share


@pytest.mark.parametrize(("rank", "reserved"), [(4, 8), (8, 8), (20, 32), (64, 64), (300, 320)])
def test_ranks_are_rounded_up(rank: int, reserved: int) -> None:
    assert rollout.lora_rank_in_vllm(rank) == reserved


def engine(**changed: object) -> rollout.Engine:
    arguments: dict[str, object] = {
        "usable_gib": 23.6, "free_gib": 23.2, "gpu_memory_utilization": 0.6, "standby": False,
        "shared_weights": 2 * GIB, "max_model_len": 1536, "lora_rank": 32, "lora_bytes": 120 * 2**20,
    }  # fmt: skip
    return rollout.plan_engine(QWEN_3B, **{**arguments, **changed})  # type: ignore[arg-type] # a mapping of mixed types


def test_shared_weights_are_not_counted_twice() -> None:
    shared, own = engine(), engine(shared_weights=None)
    assert shared.weights == 0
    assert own.weights == 2 * 3_085_938_688
    assert shared.kv_cache == pytest.approx(
        0.6 * 23.2 * GIB - 2 * GIB - 120 * 2**20 - rollout.graph_allowance(QWEN_3B), abs=2
    )


def test_what_is_asked_for_is_not_what_standby_gives() -> None:
    assert engine(standby=True).gpu_memory_utilization == 0.78375
    assert engine(standby=True, gpu_memory_utilization=0.3) == engine(standby=True)


def test_a_share_too_small_for_the_weights_leaves_no_cache() -> None:
    starved = engine(gpu_memory_utilization=0.05)
    assert (starved.kv_cache, starved.kv_tokens, starved.n_concurrent(1536)) == (0, 0, 0)


def test_concurrency_is_bounded_by_cache_and_by_schedule() -> None:
    assert engine().n_concurrent(10**6) == 0
    assert engine().n_concurrent(1) == engine().max_num_seqs == 48
