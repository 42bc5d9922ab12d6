"""The plan: phases that add up, and numbers that are not mixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from toolkit.errors import SettingsError
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.formula.update import update_of
from toolkit.vram.plan import as_json, make_plan
from toolkit.vram.request import Request, check

SHAPE, CARD = find("Qwen/Qwen2.5-3B-Instruct"), find_card("4090")


DEFAULT = Request()


def test_the_parts_of_a_phase_add_up_to_its_total() -> None:
    plan = make_plan(DEFAULT, SHAPE, CARD)
    for phase in as_json(plan)["phases"].values():
        total = phase.pop("total_gib")
        assert sum(phase.values()) == pytest.approx(total, abs=0.001)
    assert plan.peak_process_gib == max(phase.total_gib for phase in plan.phases.values())


def test_allocated_reserved_and_process_are_three_numbers() -> None:
    plan = make_plan(DEFAULT, SHAPE, CARD)
    assert plan.peak_allocated_gib < plan.peak_reserved_gib < plan.peak_process_gib
    update = plan.phases["update"].parts_gib
    tensors = ("weights", "lora", "optimizer", "gradients", "activations", "logits")
    assert plan.peak_allocated_gib == pytest.approx(sum(update[name] for name in tensors))


def test_standby_keeps_the_cache_out_of_the_update() -> None:
    asleep = make_plan(replace(DEFAULT, standby=True), SHAPE, CARD).phases
    awake = make_plan(DEFAULT, SHAPE, CARD).phases
    assert "kv_cache" not in asleep["update"].parts_gib
    assert asleep["update"].parts_gib["cuda_graphs"] == asleep["rollout"].parts_gib["cuda_graphs"] > 0.3
    assert awake["update"].parts_gib["kv_cache"] == awake["rollout"].parts_gib["kv_cache"] > 5


def test_trl_loads_the_weights_twice() -> None:
    plan = make_plan(replace(DEFAULT, framework="trl", method="lora"), SHAPE, CARD)
    assert plan.phases["rollout"].parts_gib["engine"] > 2 * 3.08e9 / 2**30
    assert make_plan(DEFAULT, SHAPE, CARD).phases["rollout"].parts_gib["engine"] < 1.5


def test_sft_is_full_sequences_without_an_engine() -> None:
    plan = make_plan(replace(DEFAULT, task="sft", max_seq_length=1536), SHAPE, CARD)
    assert set(plan.phases) == {"load", "update"}
    assert plan.engine is None


def test_without_a_card_nothing_is_said_to_fit() -> None:
    assert make_plan(DEFAULT, SHAPE, None).fits is None


def test_the_interval_holds_the_peak() -> None:
    for gpu in ("4090", "3060", "T4", "A100-80GB"):
        plan = make_plan(DEFAULT, SHAPE, find_card(gpu))
        low, high = plan.interval_gib
        assert low < plan.peak_process_gib < high


def test_a_cache_smaller_than_one_sequence_is_warned_of() -> None:
    plan = make_plan(replace(DEFAULT, gpu_memory_utilization=0.12), SHAPE, find_card("12"))
    assert any("less than one sequence of 1,536" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    "asked",
    [
        {"standby": True, "generation": "hf"}, {"num_generations": 7}, {"gpu_memory_utilization": 2.0},
        {"framework": "trl", "loss_head": "unsloth"}, {"lora_rank": 0}, {"num_generations": 1}, {"beta": -0.1},
        {"generation": "hf", "kv_cache_dtype": "fp8"}, {"steps_per_generation": 0}, {"lora_rank": 513},
    ],
)  # fmt: skip
def test_contradictions_are_errors(asked: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        check(replace(DEFAULT, **asked))


@pytest.mark.parametrize(
    ("asked", "gpu", "said"),
    [
        ({"upcast_embeddings": True, "method": "lora"}, "4090", "no effect with --method lora"),
        ({"max_completion_length": 40_000}, "A100-80GB", "knows 32,768 positions"),
        ({"attention": "flash"}, "T4", "T4 has no flash attention"),
    ],
)
def test_what_has_no_effect_is_said(asked: dict[str, Any], gpu: str, said: str) -> None:
    assert any(said in warning for warning in make_plan(replace(DEFAULT, **asked), SHAPE, find_card(gpu)).warnings)
    assert not any(said in warning for warning in make_plan(DEFAULT, SHAPE, CARD).warnings)


def test_a_card_before_ampere_has_other_kernels_and_no_bfloat16() -> None:
    sft = replace(DEFAULT, task="sft", framework="trl")
    old, new = update_of(sft, SHAPE, find_card("T4")), update_of(sft, SHAPE, CARD)
    assert (old.attention, old.dtype) == ("efficient", "fp16")
    assert (new.attention, new.dtype) == ("flash", "bf16")


def test_frameworks_differ_in_adapters_heads_and_checkpoints() -> None:
    unsloth, trl = update_of(DEFAULT, SHAPE, CARD), update_of(replace(DEFAULT, framework="trl"), SHAPE, CARD)
    assert (unsloth.lora_float32, unsloth.head, unsloth.checkpointing) == (True, "unsloth", "unsloth")
    assert (trl.lora_float32, trl.head, trl.checkpointing) == (False, "chunked", "hf")


def test_plain_logits_in_supervised_training_are_a_hand_written_loop() -> None:
    loop = update_of(replace(DEFAULT, task="sft", framework="trl", loss_head="logits"), SHAPE, CARD)
    assert (loop.head, loop.autocast, loop.lora_float32, loop.prompt) == ("cross_entropy", False, True, 0)
