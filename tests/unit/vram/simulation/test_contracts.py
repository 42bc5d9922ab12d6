"""What the simulation stands on: workspaces of kernels, private names, and loud errors when they are gone."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.unit.vram.simulation.steps import STEP, TINY
from toolkit.compat import fake_tensors
from toolkit.errors import ContractError, ModelError, SettingsError
from toolkit.vram.simulation import model as simulated_model
from toolkit.vram.simulation import simulate, watch
from toolkit.vram.simulation.model import build_on_meta, load_config, set_checkpointing
from toolkit.vram.simulation.watch import dequantised_bytes, efficient_backward_bytes, flash_backward_bytes

pytestmark = pytest.mark.filterwarnings("ignore")


def test_workspaces_that_no_dispatcher_sees() -> None:
    q, k = torch.empty(2, 4, 100, 48, dtype=torch.bfloat16), torch.empty(2, 2, 100, 48, dtype=torch.bfloat16)
    softmax_d, dq, dk_dv = 2 * 4 * 128 * 4, 2 * 4 * 128 * 64 * 4, 2 * (2 * 4 * 100 * 48 * 2)
    assert flash_backward_bytes(q, q) == softmax_d + dq
    assert flash_backward_bytes(q, k) == softmax_d + dq + dk_dv
    assert efficient_backward_bytes(q) == 2 * 4 * 100 * 4 + 2 * 4 * 128 * 48 * 4
    weight = torch.Size((640, 128))
    assert dequantised_bytes(torch.empty(256, 128), weight, nested=True) == 0
    assert dequantised_bytes(torch.empty(257, 128), weight, nested=True) == 640 * 128 * 4 + 2 * 5120


@pytest.mark.parametrize(
    ("workspace", "change"),
    [
        ("flash_backward_bytes", {}),
        ("efficient_backward_bytes", {"padded": True}),
        ("dequantised_bytes", {"quantization": "nf4"}),
    ],
)
def test_workspaces_are_booked(workspace: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, workspace, lambda *_, **__: 2**40)
    assert simulate(TINY, replace(STEP, **change), layers=1).by_part["rest"] > 2**40


# What it stands on


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("transformers.masking_utils", "is_tracing"),
        ("transformers.masking_utils", "AttentionMaskInterface"),
        ("trl.trainer.utils", "_ChunkedLogProbFunction"),
        ("torch._C", "_storage_Use_Count"),
        ("torch._C", "_current_graph_task_id"),
    ],
)
def test_a_private_name_that_is_gone_is_named(owner: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(TINY, STEP, layers=1)  # everything imported
    monkeypatch.delattr(sys.modules[owner], name)
    with pytest.raises(ContractError, match=name):
        simulate(TINY, STEP, layers=1)


def test_four_bit_layers_that_do_not_run_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_model, "_quantise", lambda *_, **__: None)
    with pytest.raises(ContractError, match="gemm_4bit ran 0 times"):
        simulate(TINY, replace(STEP, quantization="nf4"), layers=1)


def test_layers_with_a_window_take_a_mask() -> None:
    windowed = {**TINY, "model_type": "mistral", "sliding_window": 64}
    assert simulate(windowed, STEP).by_part["rest"] > simulate(TINY, STEP).by_part["rest"]


def test_float32_with_grouped_queries_pays_for_the_scores() -> None:
    update = replace(STEP, dtype="fp32", head="logits", checkpointing="none", prompt=384)
    square = {**TINY, "num_key_value_heads": 4}
    grouped, same = (simulate(config, update, layers=1) for config in (TINY, square))
    assert grouped.peak_bytes - same.peak_bytes > 2 * 4 * 512 * 512 * 4 / 2


def test_another_attention_kernel_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_tensors, "are_not_tracing", nullcontext)
    with pytest.raises(ContractError, match="flash_attention ran 0 times"):
        simulate(TINY, STEP, layers=1)


def test_a_model_without_the_checkpointing_switch_is_an_error() -> None:
    model = build_on_meta(replace(STEP, dtype="fp32"), load_config(TINY, 1), "sdpa")
    model.gradient_checkpointing_enable = lambda **_: None
    with pytest.raises(ContractError, match="no layer took gradient checkpointing"):
        set_checkpointing(model, "hf")


def test_the_process_is_left_as_it_was() -> None:
    import trl.trainer.utils as trl_utils
    from transformers import masking_utils

    def state() -> tuple[Any, ...]:
        return vars(masking_utils)["is_tracing"], vars(trl_utils)["_ChunkedLogProbFunction"], sys.modules.get("triton")

    before = state()
    simulate(TINY, STEP, layers=1)
    with pytest.raises(ValueError, match="nowhere"):
        simulate(TINY, replace(STEP, targets=("nowhere",)), layers=1)
    assert state() == before


def test_an_unknown_architecture() -> None:
    with pytest.raises(ModelError, match="qwen99"):
        simulate({**TINY, "model_type": "qwen99"}, STEP)


def test_a_head_without_a_prompt() -> None:
    with pytest.raises(SettingsError, match="prompt 0 with head unsloth"):
        simulate(TINY, replace(STEP, prompt=0, head="unsloth"))
