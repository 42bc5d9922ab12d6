"""The simulated step: against a real allocator, against reference peaks, against itself at full depth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from toolkit.errors import ContractError, ModelError, SettingsError
from toolkit.vram.simulation import StepSpec, extrapolate, kernels, simulate, simulate_trl_step
from toolkit.vram.simulation import attention as simulated_attention
from toolkit.vram.simulation import model as simulated_model
from toolkit.vram.simulation.checkpointing import set_checkpointing
from toolkit.vram.simulation.kernels import dequantised_bytes, efficient_backward_bytes, flash_backward_bytes
from toolkit.vram.simulation.ledger import Ledger
from toolkit.vram.simulation.model import build_on_meta, load_config, materialise, tensors_by_part
from toolkit.vram.simulation.run import peaks_by_phase
from toolkit.vram.simulation.step import Step

pytestmark = pytest.mark.filterwarnings("ignore")

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TINY = {
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 4000,
    "tie_word_embeddings": True,
}
STEP = StepSpec(config=TINY, quantization="none", rank=8, targets=ALL_LINEAR, batch=2, prompt=64, completion=128)


def config(kind: str, hidden: int, layers: int, heads: int, kv_heads: int, inner: int, vocab: int) -> dict[str, Any]:
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocab,
        "tie_word_embeddings": hidden < 3500,
        **({"head_dim": 128} if kind == "qwen3" else {}),
    }


QWEN25_7B = config("qwen2", 3584, 28, 28, 4, 18944, 152064)
QWEN25_1_5B = config("qwen2", 1536, 28, 12, 2, 8960, 151936)
QWEN3_8B = config("qwen3", 4096, 36, 32, 8, 12288, 151936)


# Against what a CPU allocates


@pytest.fixture
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices: threads that wait for each other cost seconds
    yield
    torch.set_num_threads(n_threads)


def allocated_peak_bytes(spec: StepSpec) -> int:
    """Run the same step on real tensors and add up what PyTorch's CPU allocator reports."""
    from torch.profiler import ProfilerActivity, profile

    torch.manual_seed(0)
    model = build_on_meta(spec, load_config(spec), "sdpa")
    materialise(model, lambda meta: torch.randn(meta.shape).mul_(0.02).to(meta.dtype))
    set_checkpointing(model, spec.checkpointing)
    step = Step(spec, model, lambda phase: None)
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
        {"head": "logits", "batch": 1, "prompt": 8, "completion": 8, "rank": 64, "optimizer": "adamw_torch_fused"},
    ],
    ids=lambda change: " ".join(f"{name}={value}" for name, value in change.items()),
)
def test_a_cpu_allocates_what_is_simulated(change: dict[str, Any], one_thread: None) -> None:
    spec = replace(STEP, dtype="float32", **change)
    _, peaks = peaks_by_phase(spec, attention_kind="sdpa")
    simulated = max(peak.total_bytes for peak in peaks.values())
    assert simulated == pytest.approx(allocated_peak_bytes(spec), rel=0.005)


# Against peaks computed once at full depth, by another program


REFERENCE = [
    (6.740, QWEN25_7B, {"batch": 1, "completion": 512}),
    (8.907, QWEN25_7B, {"batch": 4}),
    (7.472, QWEN3_8B, {"batch": 1}),
    (21.945, QWEN25_7B, {"batch": 8, "prompt": 1024, "completion": 3072, "padded": True}),
    (17.718, QWEN25_7B, {"batch": 2, "quantization": "none"}),
    (10.465, QWEN25_7B, {"batch": 1, "prompt": 256, "completion": 512, "checkpointing": "none"}),
    (7.172, QWEN25_1_5B, {"batch": 8, "head": "logits"}),
    (9.076, QWEN3_8B, {"batch": 2, "head": "unsloth", "checkpointing": "offload"}),
    (11.992, QWEN3_8B, {"batch": 4, "completion": 2048, "padded": True}),
]


@pytest.mark.parametrize(("peak_gib", "model", "change"), REFERENCE, ids=[str(row[0]) for row in REFERENCE])
def test_reference_peaks(peak_gib: float, model: dict[str, Any], change: dict[str, Any]) -> None:
    usual = StepSpec(
        config=model, quantization="nf4", rank=64, targets=ALL_LINEAR, batch=1, prompt=512, completion=1024
    )
    assert extrapolate(replace(usual, **change)).peak_bytes / 2**30 == pytest.approx(peak_gib, rel=0.001)


# Against itself


DEEP = {**TINY, "num_hidden_layers": 6}


@pytest.mark.parametrize(
    "change",
    [
        {"quantization": "nf4"},
        {"quantization": "nf4", "checkpointing": "none", "head": "logits"},
        {"checkpointing": "offload", "head": "unsloth", "targets": ("q_proj", "v_proj")},
        {"config": {**DEEP, "model_type": "qwen3", "head_dim": 64}, "padded": True, "targets": ("all-linear",)},
    ],
    ids=["nf4", "none logits", "offload unsloth", "qwen3 padded"],
)
def test_extrapolation_is_full_depth(change: dict[str, Any]) -> None:
    spec = replace(STEP, config=DEEP, **{name: value for name, value in change.items() if name != "config"})
    spec = replace(spec, config=change.get("config", DEEP))
    extended, full = extrapolate(spec), simulate(spec)
    assert replace(extended, seconds=0) == replace(full, seconds=0)


def test_extrapolation_follows_the_leading_phase() -> None:
    deeper = {**TINY, "num_hidden_layers": 9}
    spec = replace(STEP, config=deeper, rank=16, batch=1, completion=64, head="logits")
    two, four, full = (simulate(spec, layers=layers) for layers in (2, 4, None))
    assert len({two.phase, four.phase, full.phase}) == 3
    line_through_the_peaks = two.peak_bytes + (four.peak_bytes - two.peak_bytes) * 7 // 2
    assert line_through_the_peaks < full.peak_bytes == extrapolate(spec).peak_bytes


@pytest.mark.parametrize("change", [{"quantization": "nf4"}, {"padded": True, "checkpointing": "none"}], ids=str)
def test_trl_drives_the_same_step(change: dict[str, Any]) -> None:
    spec = replace(STEP, batch=4, prompt=256, **change)
    ours, trls = simulate(spec, layers=2), simulate_trl_step(spec, layers=2)
    assert trls.peak_bytes == pytest.approx(ours.peak_bytes, rel=0.002)
    assert trls.load_bytes == ours.load_bytes


def test_trl_drives_nothing_else() -> None:
    with pytest.raises(SettingsError, match="TRL does not drive"):
        simulate_trl_step(replace(STEP, head="unsloth"))


def test_checkpoints_cost_least_on_the_host() -> None:
    none, hf, offload = (
        simulate(replace(STEP, checkpointing=kind), layers=2).peak_bytes for kind in ("none", "hf", "offload")
    )
    assert none > hf > offload


def test_parts_sum_to_the_peak_and_ties_count_once() -> None:
    tied = simulate(STEP)
    untied = simulate(replace(STEP, config={**TINY, "tie_word_embeddings": False}))
    assert sum(tied.by_part.values()) == tied.peak_bytes
    assert tied.by_part["weights"] + tied.by_part["lora"] == tied.load_bytes
    assert tied.by_part["optimizer"] == 2 * tied.by_part["lora"]
    assert untied.load_bytes - tied.load_bytes == 2 * 4000 * 128


def test_four_bits_with_double_quantisation() -> None:
    n_linear = 3 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 384)
    saved = simulate(STEP).by_part["weights"] - simulate(replace(STEP, quantization="nf4")).by_part["weights"]
    expected = n_linear * (2 - 1 / 2 - (1 + 4 / 256) / 64)
    books = 3 * 7 * (512 + 1024 + 512)  # two code books and an offset a layer, in whole blocks
    assert saved == pytest.approx(expected - books, abs=3 * 7 * 2 * 512)


def test_adapters_are_bf16_over_four_bits_and_fp32_over_sixteen() -> None:
    assert simulate(STEP).by_part["lora"] == 2 * simulate(replace(STEP, quantization="nf4")).by_part["lora"]


# Books and kernels


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
    monkeypatch.setattr(kernels, workspace, lambda *_, **__: 2**40)
    assert simulate(replace(STEP, **change), layers=1).by_part["rest"] > 2**40


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
    simulate(STEP, layers=1)  # everything imported
    monkeypatch.delattr(sys.modules[owner], name)
    with pytest.raises(ContractError, match=name):
        simulate(STEP, layers=1)


def test_four_bit_layers_that_do_not_run_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_model, "_quantise", lambda model, dtype: None)
    with pytest.raises(ContractError, match="gemm_4bit ran 0 times"):
        simulate(replace(STEP, quantization="nf4"), layers=1)


def test_layers_with_a_window_take_a_mask() -> None:
    windowed = {**TINY, "model_type": "mistral", "sliding_window": 64}
    assert simulate(replace(STEP, config=windowed)).by_part["rest"] > simulate(STEP).by_part["rest"]


def test_float32_with_grouped_queries_pays_for_the_scores() -> None:
    spec = replace(STEP, dtype="float32", head="logits", checkpointing="none", prompt=384)
    square = {**TINY, "num_key_value_heads": 4}
    grouped, same = simulate(spec, layers=1), simulate(replace(spec, config=square), layers=1)
    assert grouped.peak_bytes - same.peak_bytes > 2 * 4 * 512 * 512 * 4 / 2


def test_another_attention_kernel_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_attention, "fake_tensors_are_not_tracing", nullcontext)
    with pytest.raises(ContractError, match="flash_attention ran 0 times"):
        simulate(STEP, layers=1)


def test_a_model_without_the_checkpointing_switch_is_an_error() -> None:
    spec = replace(STEP, dtype="float32")
    model = build_on_meta(spec, load_config(spec, 1), "sdpa")
    model.gradient_checkpointing_enable = lambda **_: None
    with pytest.raises(ContractError, match="no layer took gradient checkpointing"):
        set_checkpointing(model, "hf")


def test_the_process_is_left_as_it_was() -> None:
    import trl.trainer.utils as trl_utils
    from transformers import masking_utils

    def state() -> tuple[Any, ...]:
        return vars(masking_utils)["is_tracing"], vars(trl_utils)["_ChunkedLogProbFunction"], sys.modules.get("triton")

    before = state()
    simulate(STEP, layers=1)
    with pytest.raises(ValueError, match="nowhere"):
        simulate(replace(STEP, targets=("nowhere",)), layers=1)
    assert state() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantization": "nf3"}, "did you mean nf4"),
        ({"head": "chunked"}, "trl or logits or unsloth"),
        ({"rank": 0}, "rank 0; wanted a whole number from 1"),
        ({"targets": ()}, "no adapter targets"),
        ({"config": {}}, "without model_type"),
    ],
)
def test_a_step_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(STEP, **change)


def test_an_unknown_architecture() -> None:
    with pytest.raises(ModelError, match="qwen99"):
        simulate(replace(STEP, config={**TINY, "model_type": "qwen99"}))
