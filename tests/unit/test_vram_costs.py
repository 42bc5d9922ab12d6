"""The formula of an update's peak, held against simulated steps and numbers by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.vram import costs
from toolkit.vram.costs import Update
from toolkit.vram.plan import constants, slack_gib
from toolkit.vram.request import Request
from toolkit.vram.shapes import find

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vram_update_peaks.json").read_text())["points"]


def update_of(point: dict[str, Any]) -> Update:
    names = ("quantization", "batch", "prompt", "completion", "rank", "checkpointing", "head", "padded", "chunks")
    return Update(**{name: point[name] for name in names if name in point})


def error(point: dict[str, Any]) -> float:
    return costs.peak(find(point["model"]), update_of(point)).total / point["peak_bytes"] - 1


def test_the_formula_agrees_with_every_simulated_step() -> None:
    errors = [abs(error(point)) for point in GOLDEN]
    assert len(errors) == 28
    assert sum(errors) / len(errors) < 0.0025
    assert max(errors) < 0.009


def test_what_stands_between_steps_agrees_too() -> None:
    for point in GOLDEN:
        peak = costs.peak(find(point["model"]), update_of(point))
        assert peak.fixed == pytest.approx(point["fixed_bytes"], rel=0.0015), point


def test_nf4_by_hand() -> None:
    # 64 weights: 32 bytes and one absmax; 64 x 256 weights share one second-level float32
    assert costs.nf4_bytes(64, double_quant=False) == 32 + 4
    assert costs.nf4_bytes(64 * 256) == 32 * 256 + 256 + 4


def test_adam_by_hand() -> None:
    assert costs.optimizer_bytes(1000, 2, "adamw_torch") == 4000
    assert costs.optimizer_bytes(1024, 4, "adamw_8bit") == 2048 + 2 * 4 * 4


def test_more_of_anything_never_takes_less() -> None:
    shape = find("Qwen/Qwen2.5-3B")
    base = Update("nf4", batch=4, prompt=256, completion=512)
    total = costs.peak(shape, base).total
    for change in ({"batch": 8}, {"prompt": 512}, {"completion": 1024}, {"rank": 64}, {"checkpointing": "none"},
                   {"padded": True}, {"head": "logits"}, {"quantization": "none"}, {"upcast_embeddings": True},
                   {"double_quant": False}):  # fmt: skip
        assert costs.peak(shape, Update(**{**vars(base), **change})).total >= total, change
    for change in ({"checkpointing": "unsloth"}, {"optim": "adamw_8bit"}, {"targets": ("q_proj",)}):
        assert costs.peak(shape, Update(**{**vars(base), **change})).total < total, change


def test_the_allocators_slack_is_near_its_replay() -> None:
    misses = []
    for point in GOLDEN:
        request = Request(gradient_checkpointing=point["checkpointing"], loss_head=point["head"])
        peak = costs.peak(find(point["model"]), update_of(point))
        planned = slack_gib(request, (peak.moment.total + peak.mask) / 2**30, constants()["slack"])
        misses.append(planned + 0.01 * peak.fixed / 2**30 - (point["reserved_bytes"] - point["peak_bytes"]) / 2**30)
    assert sum(abs(miss) for miss in misses) / len(misses) < 0.25
    assert max(abs(miss) for miss in misses) < 0.6
