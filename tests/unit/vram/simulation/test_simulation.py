"""The simulated step: against reference peaks, against itself at full depth, against TRL's own trainer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.vram.simulation.steps import ALL_LINEAR, N_LINEAR, QWEN3_8B, QWEN25_1_5B, QWEN25_7B, STEP, TINY
from tests.unit.vram.simulation.trl_step import simulate_trl_step
from toolkit.errors import SettingsError
from toolkit.vram.formula.update import Update
from toolkit.vram.simulation import extrapolate, simulate
from toolkit.vram.simulation.allocator import rounded
from toolkit.vram.simulation.ledger import Ledger

pytestmark = pytest.mark.filterwarnings("ignore")


# Against peaks computed once at full depth, by another program


REFERENCE = [
    (6.740, QWEN25_7B, {"batch": 1, "completion": 512}),
    (8.907, QWEN25_7B, {"batch": 4}),
    (7.472, QWEN3_8B, {"batch": 1}),
    (21.945, QWEN25_7B, {"batch": 8, "prompt": 1024, "completion": 3072, "padded": True}),
    (17.718, QWEN25_7B, {"batch": 2, "quantization": "none"}),
    (10.465, QWEN25_7B, {"batch": 1, "prompt": 256, "completion": 512, "checkpointing": "none"}),
    (7.172, QWEN25_1_5B, {"batch": 8, "head": "logits"}),
    (9.076, QWEN3_8B, {"batch": 2, "head": "unsloth", "chunks": 2, "checkpointing": "unsloth"}),
    (11.992, QWEN3_8B, {"batch": 4, "completion": 2048, "padded": True}),
]


@pytest.mark.parametrize(("peak_gib", "model", "change"), REFERENCE, ids=[str(row[0]) for row in REFERENCE])
def test_reference_peaks(peak_gib: float, model: dict[str, Any], change: dict[str, Any]) -> None:
    usual = Update("nf4", batch=1, prompt=512, completion=1024, rank=64, targets=ALL_LINEAR)
    assert extrapolate(model, replace(usual, **change)).peak_bytes / 2**30 == pytest.approx(peak_gib, rel=0.001)


# Against itself


DEEP = {**TINY, "num_hidden_layers": 6}
QWEN3 = {**DEEP, "model_type": "qwen3", "head_dim": 64}
WINDOWED = {**TINY, "num_hidden_layers": 8, "layer_types": 4 * ["sliding_attention", "full_attention"]}
WINDOWED |= {"use_sliding_window": True, "sliding_window": 64}


@pytest.mark.parametrize(
    ("model", "change", "depths"),
    [
        (DEEP, {"quantization": "nf4"}, (2, 4)),
        (DEEP, {"quantization": "nf4", "checkpointing": "none", "head": "logits"}, (2, 4)),
        (DEEP, {"checkpointing": "unsloth", "head": "unsloth", "targets": ("q_proj", "v_proj")}, (2, 4)),
        (QWEN3, {"padded": True}, (2, 4)),
        (WINDOWED, {"targets": ("q_proj",), "prompt": 256, "completion": 32}, (4, 6)),
    ],
    ids=["nf4", "none logits", "unsloth", "qwen3 padded", "windows"],
)
def test_extrapolation_is_full_depth(model: dict[str, Any], change: dict[str, Any], depths: tuple[int, int]) -> None:
    update = replace(STEP, **change)
    extended, full = extrapolate(model, update), simulate(model, update)
    assert (extended.depths, full.depths) == (depths, (model["num_hidden_layers"],))
    assert extended.reserved_bytes is None, "fragments are not linear in the depth"
    same = {"seconds": 0.0, "depths": (), "reserved_bytes": None}
    assert replace(extended, **same) == replace(full, **same)


def test_extrapolation_follows_the_leading_phase() -> None:
    deeper = {**TINY, "num_hidden_layers": 9}
    update = replace(STEP, rank=16, batch=1, completion=64, head="logits")
    two, four, full = (simulate(deeper, update, layers=layers) for layers in (2, 4, None))
    assert len({two.phase, four.phase, full.phase}) == 3
    line_through_the_peaks = two.peak_bytes + (four.peak_bytes - two.peak_bytes) * 7 // 2
    assert line_through_the_peaks < full.peak_bytes == extrapolate(deeper, update).peak_bytes


@pytest.mark.parametrize("change", [{"quantization": "nf4"}, {"padded": True, "checkpointing": "none"}], ids=str)
def test_trl_drives_the_same_step(change: dict[str, Any]) -> None:
    update = replace(STEP, batch=4, prompt=256, **change)
    ours, trls = simulate(TINY, update, layers=2), simulate_trl_step(TINY, update, layers=2)
    assert trls.peak_bytes == pytest.approx(ours.peak_bytes, rel=0.002)
    assert trls.load_bytes == ours.load_bytes


def test_trl_drives_nothing_else() -> None:
    with pytest.raises(SettingsError, match="TRL does not drive"):
        simulate_trl_step(TINY, replace(STEP, head="unsloth"))


def test_checkpoints_cost_least_on_the_host() -> None:
    updates = (replace(STEP, checkpointing=kind) for kind in ("none", "hf", "unsloth"))
    none, hf, on_host = (simulate(TINY, update, layers=2).peak_bytes for update in updates)
    assert none > hf > on_host


def test_parts_sum_to_the_peak_and_ties_count_once() -> None:
    tied = simulate(TINY, STEP)
    untied = simulate({**TINY, "tie_word_embeddings": False}, STEP)
    assert sum(tied.by_part.values()) == tied.peak_bytes
    assert tied.by_part["weights"] + tied.by_part["lora"] == tied.load_bytes
    assert tied.by_part["optimizer"] == 2 * tied.by_part["lora"]
    assert untied.load_bytes - tied.load_bytes == 2 * 4000 * 128


def test_the_allocator_holds_the_whole_step_in_segments() -> None:
    peak = simulate(TINY, STEP)
    assert peak.reserved_bytes is not None
    assert peak.peak_bytes < peak.reserved_bytes < 1.5 * peak.peak_bytes
    assert peak.reserved_bytes % 2**21 == 0


@pytest.mark.parametrize("double_quant", [True, False])
def test_four_bits(double_quant: bool) -> None:
    def bytes_of(n: int) -> int:
        codes, n_scales = rounded(n // 2) + rounded(16 * 4), n // 64
        if not double_quant:
            return codes + rounded(4 * n_scales)
        nested = rounded(4 * -(-n_scales // 256)) + rounded(256 * 4)
        return codes + rounded(n_scales) + rounded(4) + nested

    sizes = (128 * 128, 128 * 64, 128 * 64, 128 * 128, *(3 * [128 * 384]))
    assert sum(sizes) == N_LINEAR
    nf4 = replace(STEP, quantization="nf4", double_quant=double_quant)
    saved = simulate(TINY, STEP, layers=2).by_part["weights"] - simulate(TINY, nf4, layers=2).by_part["weights"]
    assert saved == 2 * (2 * N_LINEAR - sum(map(bytes_of, sizes)))


def test_ledger_keeps_the_highest_moment_of_each_phase() -> None:
    ledger = Ledger("load")
    first = ledger.open(1, "weights")
    second = ledger.open(513)
    ledger.enter("forward")
    ledger.move(second, "gradients")
    ledger.spike(512)
    ledger.close(first)
    assert ledger.total_bytes == 1024
    assert {part: size for part, size in ledger.peaks["load"].by_part.items() if size} == {"weights": 512, "rest": 1024}
    assert ledger.peaks["forward"].total_bytes == 2048
    assert ledger.peaks["forward"].by_part["gradients"] == 1024
