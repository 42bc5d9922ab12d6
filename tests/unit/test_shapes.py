"""Shapes against publication (the totals of the Hub's safetensors) and against the real classes built on meta."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import ModelError, SettingsError
from toolkit.vram import shapes
from toolkit.vram.shapes import Shape, find, from_config, known_models, parse_targets

DATA = json.loads(files("toolkit.vram").joinpath("models.json").read_text(encoding="utf-8"))
ROWS = {next(iter(row["ids"])): row for row in DATA["models"]}
MODEL_TYPES = {key: row["model_type"] for key, row in DATA["architectures"].items() if key != "all"}
ARCHITECTURES = sorted(MODEL_TYPES)
SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
SIGLIP |= {"image_size": 896, "patch_size": 14, "vision_use_head": False}
REFUSE_NULL = ("MistralForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM")  # for num_key_value_heads
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


def hub_config(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"architectures": [row["architecture"]], **row["config"], "max_position_embeddings": 4096}


def real_config(config: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    keys = {key: value for key, value in config.items() if key != "architectures"}
    # Padding and its kin lie outside a small vocabulary and count for nothing
    return AutoConfig.for_model(MODEL_TYPES[config["architectures"][0]], **keys, pad_token_id=None)


def build(config: Mapping[str, Any]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(real_config(config))
    model.tie_weights()
    return model


@cache
def build_known(model: str) -> Any:
    return build(hub_config(ROWS[model]))


def counts(model: Any) -> dict[str, int]:
    """The real model's parameters by the same groups; a tied head counts in the embedding."""
    import torch

    linear = [m.weight for name, m in model.model.layers.named_modules() if isinstance(m, torch.nn.Linear)]
    embedding = {id(p): p for p in (model.get_input_embeddings().weight, model.lm_head.weight)}
    total = sum(p.numel() for p in model.parameters())
    found = {"linear": sum(p.numel() for p in linear), "embedding": sum(p.numel() for p in embedding.values())}
    return {**found, "other": total - sum(found.values()), "total": total}


def counted(shape: Shape) -> dict[str, int]:
    return {
        "linear": shape.linear_parameters(),
        "embedding": shape.embedding_parameters(),
        "other": shape.other_parameters(),
        "total": shape.parameters(),
    }


def features(model: Any) -> dict[str, tuple[int, int]]:
    import torch

    layer = model.model.layers[0]
    linears = {name: m for name, m in layer.named_modules() if isinstance(m, torch.nn.Linear)}
    return {name.rpartition(".")[2]: (m.in_features, m.out_features) for name, m in linears.items()}


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


@st.composite
def sparse_configs(draw: st.DrawFn) -> dict[str, Any]:
    """Configs as people publish them: some keys left to the class, some null, some unusual."""
    architecture = draw(st.sampled_from(ARCHITECTURES))
    config: dict[str, Any] = {
        "architectures": [architecture],
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": 32,
        "vocab_size": 128,
    }
    optional = {
        "num_key_value_heads": st.sampled_from((1, 8, 32) if architecture in REFUSE_NULL else (1, 8, 32, None)),
        "head_dim": st.sampled_from((2, 16)),
        "tie_word_embeddings": st.booleans(),
        "attention_bias": st.booleans(),
        "mlp_bias": st.booleans(),
    }
    return config | {key: draw(values) for key, values in optional.items() if draw(st.booleans())}


@settings(max_examples=120, deadline=None)
@given(sparse_configs())
def test_a_sparse_config_is_read_as_transformers_reads_it(config: dict[str, Any]) -> None:
    shape = from_config(config, "sparse")
    real = build(config)
    assert counted(shape) == counts(real)
    assert shape.linears() == features(real)
    assert shape.max_position_embeddings == real.config.max_position_embeddings


@pytest.mark.parametrize("n_layers", [1, 6, 13, 40])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("window", [{}, {"sliding_window": 512, "use_sliding_window": True}])
def test_sliding_layers_are_those_of_the_real_config(architecture: str, n_layers: int, window: dict[str, Any]) -> None:
    config = hub_config(next(row for row in ROWS.values() if row["architecture"] == architecture))
    config = {key: value for key, value in config.items() if key != "sliding_window"}
    config |= {"num_hidden_layers": n_layers, **window}
    shape, real = from_config(config, "windowed"), real_config(config)
    if architecture in ("MistralForCausalLM", "Phi3ForCausalLM"):
        expected = n_layers if real.sliding_window else 0
    else:
        expected = (getattr(real, "layer_types", None) or []).count("sliding_attention")
    assert shape.n_sliding_layers == expected
    assert shape.sliding_window == (real.sliding_window if expected else None)


def test_a_listed_layer_slides_where_the_class_reads_the_list() -> None:
    listed = {"layer_types": ["sliding_attention"] + ["full_attention"] * 31}
    gemma, mistral = (hub_config(ROWS[model]) for model in ("google/gemma-3-4b-pt", "mistralai/Mistral-7B-v0.1"))
    assert from_config(gemma | listed, "listed").n_sliding_layers == 1
    assert from_config(mistral | listed, "listed").n_sliding_layers == 32


@pytest.mark.parametrize("targets", ["all-linear", "attention", "q,v", "gate up down"])
@pytest.mark.parametrize("rank", [1, 64])
def test_lora_counts_are_those_of_peft(targets: str, rank: int) -> None:
    shape = find("Qwen/Qwen2.5-0.5B")
    assert shape.lora_parameters(rank, parse_targets(targets, shape)) == peft_count(shape, rank, targets)


@pytest.mark.parametrize("model", ["microsoft/Phi-4-mini-instruct", "google/gemma-3-270m", "Qwen/Qwen3-0.6B"])
def test_all_linear_is_what_peft_takes_it_for(model: str) -> None:
    shape = find(model)
    assert shape.lora_parameters(8, ("all-linear",)) == peft_count(shape, 8, "all-linear", "all-linear")


def peft_count(shape: Shape, rank: int, targets: str, given: str | None = None) -> int:
    from peft import LoraConfig, get_peft_model

    config = hub_config(ROWS[shape.name]) | {"num_hidden_layers": 2}  # a LoRA on each of two layers tells all
    modules = given or list(parse_targets(targets, shape))
    model = get_peft_model(build(config), LoraConfig(r=rank, target_modules=modules), low_cpu_mem_usage=True)
    two_layers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert two_layers % 2 == 0
    return two_layers // 2 * shape.n_layers


# --- finding


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("qwen/qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen3-0.6B-Base", "Qwen/Qwen3-0.6B-Base"),
        ("unsloth/Qwen2.5-3B-Instruct-bnb-4bit", "Qwen/Qwen2.5-3B-Instruct"),
        ("unsloth/qwen3-14b-unsloth-bnb-4bit", "Qwen/Qwen3-14B"),
        ("somebody/gemma-2-9b-it-bnb-4bit", "google/gemma-2-9b-it"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("meta-llama/Meta-Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("unsloth/llama-3-8b-bnb-4bit", "meta-llama/Meta-Llama-3-8B"),
        ("unsloth/tinyllama", "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T"),
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, found: str) -> None:
    assert find(name).name == found


@given(st.data())
def test_every_id_is_found_in_any_case_and_without_owner(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(known_models()))
    owner, _, name = model.rpartition("/")
    case = data.draw(st.sampled_from((str.lower, str.upper, str)))
    assert find(case(model)).name == model
    if owner != "unsloth":
        assert find(case(name)).name == model


def test_unsloths_copy_of_phi_4_has_other_modules_and_as_many_parameters() -> None:
    original, copy = find("phi-4"), find("unsloth/Phi-4-unsloth-bnb-4bit")
    assert (original.fused, copy.fused) == (True, False)
    assert original.parameters() == copy.parameters()
    assert original.lora_parameters(8, ["all-linear"]) != copy.lora_parameters(8, ["all-linear"])


def test_siblings_differ_where_their_configs_do() -> None:
    positions = {name: find(f"Qwen/Qwen2.5{name}-7B").max_position_embeddings for name in ("", "-Math", "-Coder")}
    assert positions == {"": 131072, "-Math": 4096, "-Coder": 32768}
    assert find("Qwen/Qwen2.5-7B-Instruct").max_position_embeddings == 32768
    assert find("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B").tied is False
    assert find("mistralai/Mistral-7B-v0.1").sliding_window == 4096
    assert find("mistralai/Mistral-7B-v0.3").sliding_window is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Qwen/Qwen2.5-9B", "Qwen/Qwen2.5-7B"),
        ("llama-3.2-2b", "meta-llama/Llama-3.2-1B"),
        ("Qwen2.5-7B-Instuct", "7B-I"),
    ],
)
def test_an_unknown_name_brings_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ModelError, match="did you mean") as caught:
        find(name)
    assert near in str(caught.value)
    assert "config.json" in caught.value.next_step


@pytest.mark.parametrize("name", ["", "  ", "gpt-17-ultra", "someone/Qwen2.5-7B", "x" * 5000, "a\0b"])
def test_what_the_table_does_not_know_is_not_guessed(name: str) -> None:
    with pytest.raises(ModelError, match="unknown model"):
        find(name)


# --- reading configs


def test_a_folder_and_its_config_are_the_same_model(tmp_path: Path) -> None:
    folder = tmp_path / "my-qwen"
    folder.mkdir()
    config = hub_config(ROWS["Qwen/Qwen3-0.6B"])
    (folder / "config.json").write_text(json.dumps(config))
    assert find(str(folder)) == find(str(folder / "config.json")) == from_config(config, "my-qwen")
    assert find(str(folder)).parameters() == 596_049_920


def test_published_gemma_3_leaves_out_what_its_class_assumes() -> None:
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": text | {"model_type": "gemma3_text"},
        "vision_config": SIGLIP,
    }
    assert from_config(config, "google/gemma-3-4b-pt") == find("google/gemma-3-4b-pt")
    del config["architectures"]
    assert from_config(config, "google/gemma-3-4b-pt") == find("google/gemma-3-4b-pt")


def test_a_config_without_architectures_goes_by_its_model_type() -> None:
    config = hub_config(ROWS["Qwen/Qwen2.5-0.5B"])
    del config["architectures"]
    assert from_config(config | {"model_type": "qwen2"}, "x").parameters() == 494_032_768


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "Qwen3MoeForCausalLM"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "Qwen2ForSequenceClassification"),
        ({"architectures": [], "model_type": "mamba"}, "mamba"),
        ({"architectures": None}, "names no architecture"),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, "text_config"),
        ({"hidden_size": None}, "hidden_size None"),
        ({"num_hidden_layers": 0}, "num_hidden_layers 0"),
        ({"vocab_size": "many"}, "vocab_size 'many'"),
        ({"num_key_value_heads": 3}, "3 key-value heads"),
        ({"num_attention_heads": 15, "num_key_value_heads": 5}, "hidden_size 896, 15 heads"),
    ],
)
def test_a_config_that_cannot_be_counted_says_why(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ModelError) as caught:
        from_config(hub_config(ROWS["Qwen/Qwen2.5-0.5B"]) | change, "mine")
    assert word in caught.value.found
    assert caught.value.wanted


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"])
def test_a_missing_key_is_named(key: str) -> None:
    config = hub_config(ROWS["Qwen/Qwen2.5-0.5B"])
    del config[key]
    with pytest.raises(ModelError, match=f"the config of mine has no {key}"):
        from_config(config, "mine")


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [("config.json", "{", "not JSON"), ("config.json", "[]", "holds a list"), ("adapter_config.json", "{}", "adapter")],
)
def test_a_folder_without_a_usable_config_says_what_it_holds(tmp_path: Path, name: str, text: str, word: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=word):
        find(str(tmp_path))


def test_a_path_that_is_not_there_is_not_taken_for_an_id(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), "./none", "~nobody-here/x", "none/config.json"):
        with pytest.raises(ModelError, match="does not exist"):
            find(path)


# --- LoRA targets

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


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


def test_mirrors_and_originals_share_one_shape() -> None:
    assert find("unsloth/Qwen2.5-7B") is find("Qwen/Qwen2.5-7B")
    assert shapes.known_models() == tuple(dict.fromkeys(shapes.known_models()))
