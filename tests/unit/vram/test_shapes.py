"""Counts against publication (totals of the Hub's safetensors, or of a row's note), the real classes, and PEFT."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.vram.real_models import (
    ARCHITECTURES,
    ROWS,
    SIGLIP,
    build,
    build_known,
    counted,
    counts,
    features,
    hub_config,
)
from toolkit.errors import SettingsError
from toolkit.vram.catalog import find
from toolkit.vram.shapes import Shape, parse_targets

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# The smallest and the largest of each architecture, and one with each oddity
BUILT = (
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen2.5-72B",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-32B",
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Meta-Llama-3-70B",
    "HuggingFaceTB/SmolLM2-135M",
    "HuggingFaceTB/SmolLM3-3B",
    "mistralai/Mistral-7B-v0.1",
    "google/gemma-2-2b",
    "google/gemma-2-27b",
    "google/gemma-3-270m",
    "google/gemma-3-27b-pt",
    "microsoft/phi-4",
    "microsoft/Phi-4-mini-instruct",
)


# --- publication


@pytest.mark.parametrize("model", [model for model, row in ROWS.items() if "parameters" in row])
def test_parameters_are_the_published_ones(model: str) -> None:
    assert find(model).parameters() == ROWS[model]["parameters"]


def test_every_row_has_a_published_total() -> None:
    assert len(ROWS) > 30
    assert all(("parameters" in row) != ("with_vision" in row) for row in ROWS.values())


@pytest.mark.parametrize("model", [model for model, row in ROWS.items() if "with_vision" in row])
def test_gemma_3_with_its_vision_tower_is_the_published_one(model: str) -> None:
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    row = ROWS[model]
    with torch.device("meta"):
        whole = Gemma3ForConditionalGeneration(Gemma3Config(text_config=row["config"], vision_config=SIGLIP))
    vision = sum(p.numel() for name, p in whole.named_parameters() if "vision_tower" in name or "projector" in name)
    assert find(model).parameters() + vision == row["with_vision"]


# --- the real classes


@pytest.mark.parametrize("model", BUILT)
def test_counts_are_those_of_the_real_class(model: str) -> None:
    shape = find(model)
    real = build_known(model)
    assert counted(shape) == counts(real)
    assert shape.linears() == features(real)


def test_every_architecture_is_built() -> None:
    assert {ROWS[model]["architecture"] for model in BUILT} == set(ARCHITECTURES)


@pytest.mark.parametrize("targets", ["all-linear", "attention", "q,v", "gate up down"])
@pytest.mark.parametrize("rank", [1, 64])
def test_lora_counts_are_those_of_peft(targets: str, rank: int) -> None:
    shape = find("Qwen/Qwen2.5-0.5B")
    assert shape.lora_parameters(rank, parse_targets(targets, shape)) == peft_count(shape, rank, targets)


@pytest.mark.parametrize("model", ["microsoft/Phi-4-mini-instruct", "google/gemma-3-270m", "Qwen/Qwen3-0.6B"])
def test_all_linear_is_what_peft_takes_it_for(model: str) -> None:
    shape = find(model)
    assert shape.lora_parameters(8, ("all-linear",)) == peft_count(shape, 8, "all-linear", "all-linear")


# What Unsloth's notebooks print before training (github.com/unslothai/notebooks, nb/, outputs of commit bdda2efc)
@pytest.mark.parametrize(
    ("model", "rank", "printed"),
    [
        ("unsloth/Mistral-Small-Instruct-2409", 16, 95_420_416),  # Mistral_Small_(22B)-Alpaca
        ("unsloth/Phi-3-medium-4k-instruct", 16, 65_536_000),  # Phi_3_Medium-Conversational
        ("unsloth/functiongemma-270m-it", 128, 30_375_936),  # FunctionGemma_(270M)
    ],
)
def test_lora_counts_are_those_of_published_runs(model: str, rank: int, printed: int) -> None:
    assert find(model).lora_parameters(rank, SEVEN) == printed


def peft_count(shape: Shape, rank: int, targets: str, given: str | None = None) -> int:
    from peft import LoraConfig, get_peft_model

    config = hub_config(shape.name) | {"num_hidden_layers": 2}  # a LoRA on each of two layers tells all
    modules = given or list(parse_targets(targets, shape))
    model = get_peft_model(build(config), LoraConfig(r=rank, target_modules=modules), low_cpu_mem_usage=True)
    two_layers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert two_layers % 2 == 0
    return two_layers // 2 * shape.n_layers


# --- LoRA targets


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all-linear", SEVEN),
        ("attention", SEVEN[:4]),
        ("mlp", SEVEN[4:]),
        ("q,k,v,o", SEVEN[:4]),
        ("v q", ("q_proj", "v_proj")),
        ("q_proj, q, attention", SEVEN[:4]),
        (["down_proj", "gate"], ("gate_proj", "down_proj")),
    ],
)
def test_targets_are_names_or_short_forms_in_forward_order(text: Any, names: tuple[str, ...]) -> None:
    assert parse_targets(text, find("Qwen2.5-0.5B")) == names


def test_fused_modules_have_their_own_names() -> None:
    phi = find("phi-4")
    assert parse_targets("attention", phi) == ("qkv_proj", "o_proj")
    assert parse_targets("mlp", phi) == ("gate_up_proj", "down_proj")
    assert parse_targets("qkv,gate_up", phi) == ("qkv_proj", "gate_up_proj")
    with pytest.raises(SettingsError, match="Phi3ForCausalLM has no module 'q_proj'"):
        phi.lora_parameters(8, SEVEN)


@pytest.mark.parametrize(("text", "word"), [("", "empty"), (" , ", "empty"), ([], "empty"), ("q,lm_head", "lm_head")])
def test_targets_that_are_none_are_refused(text: Any, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        parse_targets(text, find("Qwen2.5-0.5B"))


def test_a_misspelt_target_brings_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"did you mean gate_proj"):
        parse_targets("gate_prj", find("Qwen2.5-0.5B"))
