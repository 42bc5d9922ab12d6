"""The simulated step against the same step on real tensors, as PyTorch's CPU allocator counts it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.unit.vram.simulation.steps import STEP, TINY
from toolkit.vram.formula.update import Update
from toolkit.vram.simulation import watch
from toolkit.vram.simulation.model import build_on_meta, load_config, materialise, set_checkpointing, tensors_by_part
from toolkit.vram.simulation.run import peaks_by_phase
from toolkit.vram.simulation.step import Step

pytestmark = pytest.mark.filterwarnings("ignore")

GEMMA2 = {**TINY, "model_type": "gemma2", "head_dim": 32, "attn_logit_softcapping": 50.0, "pad_token_id": None}
FEW_TOKENS = {"batch": 1, "prompt": 8, "completion": 8}


@pytest.fixture
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices: threads that wait for each other cost seconds
    yield
    torch.set_num_threads(n_threads)


def allocated_peak_bytes(config: dict[str, Any], update: Update, attention: str) -> int:
    """Run the same step on real tensors and add up what PyTorch's CPU allocator reports."""
    from torch.profiler import ProfilerActivity, profile

    torch.manual_seed(0)
    model = build_on_meta(update, load_config(config), attention)
    materialise(model, lambda meta: torch.randn(meta.shape).mul_(0.02).to(meta.dtype))
    set_checkpointing(model, update.checkpointing)
    step = Step(update, model, lambda phase: None)
    step.run()  # Adam makes its state
    resident = [tensor for _, tensor in tensors_by_part(model)] + [*step.moments, *step.inputs]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in resident}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step.run()
    assert profiler.profiler is not None
    results: Any = profiler.profiler.kineto_results  # the only place where allocations keep their order
    events = sorted((event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]")
    assert len(events) > 1000, "the profiler saw too little to be believed"
    now = highest = sum(storages.values())
    for _, nbytes in events:
        now += nbytes
        highest = max(highest, now)
    return highest


@pytest.mark.parametrize(
    "change",
    [
        {"head": "logits"},
        {"head": "logits", "padded": True, "checkpointing": "none"},
        {"head": "unsloth"},
        {"head": "logits", **FEW_TOKENS, "rank": 64, "optim": "adamw_torch_fused"},
        {"head": "cross_entropy", "prompt": 0},
        {"head": "logits", "method": "full", **FEW_TOKENS},  # the optimizer leads with its foreach temporaries
        {"head": "logits", "method": "full", **FEW_TOKENS, "optim": "adamw_torch_fused"},  # the tied embedding
    ],
    ids=lambda change: " ".join(f"{name}={value}" for name, value in change.items()),
)
def test_a_cpu_allocates_what_is_simulated(change: dict[str, Any], one_thread: None) -> None:
    update = replace(STEP, dtype="fp32", **change)
    _, peaks = peaks_by_phase(TINY, update, attention_kind="sdpa")
    simulated = max(peak.total_bytes for peak in peaks.values())
    assert simulated == pytest.approx(allocated_peak_bytes(TINY, update, "sdpa"), rel=0.005)


@pytest.mark.parametrize("model", [TINY, GEMMA2], ids=lambda model: model["model_type"])
@pytest.mark.parametrize("checkpointing", ["none", "hf"])
def test_a_cpu_allocates_eager_attention_as_simulated(
    model: dict[str, Any], checkpointing: Any, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "workspace_bytes", lambda *_: 0)  # those of CUDA: a CPU's softmax has none
    update = replace(STEP, dtype="fp32", attention="eager", head="logits", prompt=256, completion=16)
    update = replace(update, checkpointing=checkpointing)
    _, peaks = peaks_by_phase(model, update)
    simulated = max(peak.total_bytes for peak in peaks.values())
    assert simulated == pytest.approx(allocated_peak_bytes(model, update, "eager"), rel=0.005)
