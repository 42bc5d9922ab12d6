"""The formula's terms by hand; test_accuracy.py holds it against simulated steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from toolkit.vram.catalog import find
from toolkit.vram.formula import costs
from toolkit.vram.formula.layers import Adapters, saved_widths, work_widths
from toolkit.vram.formula.update import Update

SHAPE = find("Qwen/Qwen2.5-3B")
BASE = Update("nf4", batch=4, prompt=256, completion=512)


def total(update: Update) -> float:
    return costs.peak(SHAPE, update).total


def test_nf4_by_hand() -> None:
    # 64 weights: 32 bytes and one absmax; 64 x 256 weights share one second-level float32
    assert costs.nf4_bytes(64, double_quant=False) == 32 + 4
    assert costs.nf4_bytes(64 * 256) == 32 * 256 + 256 + 4


def test_adam_by_hand() -> None:
    assert costs.optimizer_bytes(1000, 2, "adamw_torch") == 4000
    assert costs.optimizer_bytes(1024, 4, "adamw_8bit") == 2048 + 2 * 4 * 4


def test_a_layer_without_adapters_by_hand() -> None:
    # two norms' float32 inputs, gate, up and silu(gate) in 16 bit; then q_proj's adapter shares or copies its x
    none, query = Adapters.of(()), Adapters.of(("q_proj",))
    assert (saved_widths("adapters16", none).h, saved_widths("adapters16", none).i) == (8, 6)
    assert saved_widths("adapters16", query).h == saved_widths("adapters32", query).h == 8 + 2
    three = Adapters.of(("q_proj", "k_proj", "v_proj"))
    assert saved_widths("adapters16", three).h == 8 + 2  # one x for the three
    assert saved_widths("adapters32", three).h == 8 + 3 * 2  # a copy each
    assert saved_widths("loop16", three).h == 8 + 3 * 4  # in float32


def test_fused_modules_count_as_what_they_fuse() -> None:
    assert Adapters.of(("qkv_proj", "o_proj", "gate_up_proj", "down_proj")) == Adapters(4, 1, 1, 1, 1)


def test_the_working_layer_is_never_less_than_what_it_saved() -> None:
    for regime in ("adapters16", "adapters32", "upcast", "float32", "loop16", "full"):
        for targets in ((), ("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj"), BASE.targets):
            adapters = Adapters.of(targets)
            saved, work = saved_widths(regime, adapters), work_widths(regime, adapters)
            assert work.i >= saved.i, (regime, targets)
            assert work.h >= saved.h, (regime, targets)


def test_heads_by_hand() -> None:
    update = Update("nf4", batch=2, prompt=40, completion=60, chunks=3)
    n, around = 120, 6 * 200 * SHAPE.hidden
    of = {head: costs.head_bytes(SHAPE, replace(update, head=head)) - around for head in ("logits", "chunked")}
    assert of["logits"] == 4 * n * SHAPE.vocab
    assert of["chunked"] == 2 * n * 32768 + 8 * n * SHAPE.hidden
    unsloth = costs.head_bytes(SHAPE, replace(update, head="unsloth", lora_float32=True))
    assert unsloth == 16 * 40 * SHAPE.vocab + 4 * n * SHAPE.hidden + around + 2 * 200 * SHAPE.hidden
    loop = replace(update, head="cross_entropy", dtype="fp32")
    assert costs.held_bytes(SHAPE, loop) == 4 * 200 * SHAPE.vocab


def test_who_keeps_adapters_in_what() -> None:
    over_4_bit, over_16_bit = BASE, replace(BASE, quantization="none")
    lora = SHAPE.lora_parameters(32, BASE.targets)
    assert costs.peak(SHAPE, over_4_bit).lora == 2 * lora
    assert costs.peak(SHAPE, over_16_bit).lora == costs.peak(SHAPE, replace(BASE, lora_float32=True)).lora == 4 * lora


def test_prepared_for_4_bit_training_is_float32_but_for_the_projections() -> None:
    # Qwen2.5-7B as fitcheck measured it after load, r = 16 on q, k, v, o: NF4, its scales, and all that is in float32
    nf4, scales, rest = 3111.5, 388.9, 4197.8
    update = replace(
        BASE, double_quant=False, upcast_embeddings=True, lora_float32=True, rank=16, targets=BASE.targets[:4]
    )
    peak = costs.peak(find("Qwen/Qwen2.5-7B"), update)
    assert (peak.weights + peak.lora) / 2**20 == pytest.approx(nf4 + scales + rest, abs=0.1)


def test_full_fine_tuning_by_hand() -> None:
    update = Update("none", method="full", batch=1, prompt=16, completion=16)
    peak, n = costs.peak(SHAPE, update), SHAPE.parameters()
    assert (peak.weights, peak.lora, peak.optimizer) == (2 * n, 0, 4 * n)
    assert peak.stage.name == "optimizer"  # gradients, and AdamW's root of a moment for every weight
    assert peak.stage.total == 2 * n + 2 * n
    assert costs.peak(SHAPE, replace(update, reference_copy=True)).weights == 4 * n


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"batch": 8}, True), ({"prompt": 512}, True), ({"completion": 1024}, True), ({"rank": 64}, True),
        ({"checkpointing": "none"}, True), ({"padded": True}, True), ({"attention": "eager"}, True),
        ({"head": "logits"}, True), ({"quantization": "none"}, True), ({"upcast_embeddings": True}, True),
        ({"double_quant": False}, True), ({"lora_float32": True}, True), ({"dtype": "fp32"}, True),
        ({"checkpointing": "unsloth"}, False), ({"optim": "adamw_8bit"}, False), ({"targets": ("q_proj",)}, False),
    ],
)  # fmt: skip
def test_more_takes_more_and_savings_save(change: dict[str, Any], more: bool) -> None:
    changed = total(replace(BASE, **change))
    assert changed > total(BASE) if more else changed < total(BASE)
