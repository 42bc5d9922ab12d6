"""Choices of an `Update`: each does what it says, in bytes by hand or in the kernels that run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.vram.simulation.steps import N_LINEAR, STEP, TINY
from toolkit.vram.formula.update import Update
from toolkit.vram.simulation import simulate
from toolkit.vram.simulation.allocator import rounded
from toolkit.vram.simulation.run import fake_card
from toolkit.vram.simulation.step import Step
from toolkit.vram.simulation.watch import EFFICIENT, FLASH

pytestmark = pytest.mark.filterwarnings("ignore")

NF4 = replace(STEP, quantization="nf4")
N_TOKENS, HIDDEN, INNER, VOCAB = 2 * 192, 128, 384, 4000  # STEP's tokens, TINY's widths
N_LORA = 8 * (2 * (128 + 128) + 2 * (128 + 64) + 3 * (128 + 384))
"""Rank times the widths of a layer's seven adapters."""


def kernels_of(update: Update) -> Counter[str]:
    """How often each operation runs in a step of one layer."""
    with fake_card(TINY, update, 1) as card:
        step = Step(update, card.model, card.enter)
        step.prime_optimizer()
        with card.watch.mode():
            step.run()
    return Counter({name.rpartition(".")[0]: count for name, count in card.watch.calls.items()})


@pytest.mark.parametrize(
    ("attention", "padded", "expected"),
    [
        ("flash", False, (1, 0, 0)),
        ("flash", True, (0, 1, 0)),
        ("efficient", False, (0, 1, 0)),
        ("eager", False, (0, 0, 1)),
    ],
)
def test_attention_takes_its_kernel(attention: Any, padded: bool, expected: tuple[int, int, int]) -> None:
    calls = kernels_of(replace(STEP, attention=attention, padded=padded, checkpointing="none"))
    assert tuple(calls[name] for name in (FLASH, EFFICIENT, "aten._softmax")) == expected


def test_eager_attention_holds_the_scores_of_all_heads() -> None:
    short, long = (
        simulate(TINY, replace(STEP, attention="eager", head="logits", completion=1, prompt=prompt - 1), layers=1)
        for prompt in (256, 512)
    )
    four_scores_in_float32 = 4 * 2 * 4 * (512**2 - 256**2) * 4
    assert long.peak_bytes - short.peak_bytes == pytest.approx(four_scores_in_float32, rel=0.15)


def test_prepared_for_kbit_training_is_float32_but_for_the_4_bit_layers() -> None:
    usual, upcast = (simulate(TINY, update, layers=2) for update in (NF4, replace(NF4, upcast_embeddings=True)))
    assert upcast.load_bytes - usual.load_bytes == 2 * VOCAB * HIDDEN  # norms and biases stay within one block of 512
    assert (
        upcast.peak_bytes - usual.peak_bytes > 2 * VOCAB * HIDDEN + 2 * N_TOKENS * HIDDEN
    )  # the stream is float32 as well


def test_adapters_are_bf16_over_four_bits_and_fp32_over_sixteen() -> None:
    over_16, over_4 = simulate(TINY, STEP, layers=2), simulate(TINY, NF4, layers=2)
    assert over_16.by_part["lora"] == 2 * over_4.by_part["lora"] == 2 * 2 * 2 * N_LORA
    as_peft_makes_them = simulate(TINY, replace(NF4, lora_float32=True), layers=2)
    assert as_peft_makes_them.by_part["lora"] == over_16.by_part["lora"]


def test_without_autocast_float32_adapters_compute_in_float32() -> None:
    """Each of seven keeps its input and its inner product in float32, not in bf16, and no copy of its weights."""

    def a_layer_keeps(*, autocast: bool) -> int:
        update = replace(STEP, autocast=autocast, checkpointing="none", head="logits")
        three, two = (simulate(TINY, update, layers=layers).by_part["rest"] for layers in (3, 2))
        return three - two

    in_float32 = 2 * N_TOKENS * (6 * HIDDEN + INNER + 7 * 8) - 2 * N_LORA
    assert a_layer_keeps(autocast=False) - a_layer_keeps(autocast=True) == pytest.approx(in_float32, abs=14 * 512)


def test_full_fine_tuning_trains_every_weight() -> None:
    update = replace(STEP, method="full", batch=1, prompt=8, completion=8, head="logits")
    peak = simulate(TINY, update)
    weights = (
        rounded(2 * VOCAB * HIDDEN) + 3 * (2 * N_LINEAR + 3 * 512 + 2 * 512) + 512
    )  # biases and norms a block each
    inverse_frequencies = 2 * 512  # RoPE's, and the copy that it may go back to
    assert peak.phase == "optimizer"
    assert peak.by_part["weights"] == weights + inverse_frequencies
    assert (peak.by_part["lora"], peak.by_part["gradients"], peak.by_part["optimizer"]) == (0, weights, 2 * weights)
    assert peak.by_part["rest"] == pytest.approx(weights, rel=0.01), "foreach takes all roots of second moments at once"
    assert simulate(TINY, replace(update, optim="adamw_torch_fused")).phase != "optimizer"


def test_eight_bit_moments_are_those_of_bitsandbytes() -> None:
    """A byte a weight and a float32 for 256, twice; below 4096 weights float32. Two code books for all."""
    peak = simulate(TINY, replace(STEP, rank=48, targets=("q_proj", "k_proj"), optim="adamw_8bit"), layers=2)
    large, small = 48 * 128, 48 * 64  # A and q's B; k's B
    in_8_bit, in_32_bit = rounded(large) + rounded(4 * large // 256), rounded(4 * small)
    assert peak.by_part["optimizer"] == 2 * 2 * (3 * in_8_bit + in_32_bit) + 2 * 1024


def test_eight_bit_moments_spare_a_trained_embedding() -> None:
    update = replace(STEP, method="full", optim="adamw_8bit", head="logits")
    tall = {**TINY, "vocab_size": VOCAB + 1024}
    more = simulate(tall, update, layers=1).by_part["optimizer"] - simulate(TINY, update, layers=1).by_part["optimizer"]
    assert more == 8 * 1024 * HIDDEN


def test_an_optimizer_leaves_nothing_to_the_next() -> None:
    from bitsandbytes.optim.optimizer import GlobalOptimManager

    simulate(TINY, replace(STEP, method="full", optim="adamw_8bit", head="logits"), layers=1)
    manager = GlobalOptimManager.get_instance()
    assert (manager.pid2config, manager.index2config) == ({}, {})


def test_chunks_divide_the_logits_of_unsloths_head() -> None:
    update = replace(STEP, head="unsloth", completion=512)
    one, a_sequence = (simulate(TINY, replace(update, chunks=chunks), layers=1).peak_bytes for chunks in (1, 2))
    assert one - a_sequence == pytest.approx(16 * (1024 - 512) * VOCAB, rel=0.01)


def test_cross_entropy_holds_the_logits_through_the_backward_pass() -> None:
    inside, outside = (simulate(TINY, replace(STEP, head=head), layers=1) for head in ("cross_entropy", "logits"))
    assert "head" in inside.phase
    assert inside.by_part["rest"] == pytest.approx(
        (2 + 12) * N_TOKENS * VOCAB, rel=0.05
    )  # bf16 logits; three in float32
    assert outside.by_part["rest"] < inside.by_part["rest"] / 3
