"""Reading a config.json: as transformers reads it, and what is said of one that cannot be counted."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.vram.real_models import (
    ARCHITECTURES,
    DATA,
    ROWS,
    SIGLIP,
    build,
    counted,
    counts,
    features,
    hub_config,
    real_config,
)
from toolkit.errors import ModelError
from toolkit.vram.catalog import find
from toolkit.vram.configs import from_config
from toolkit.vram.shapes import Shape

REFUSE_NULL = ("MistralForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM")  # for num_key_value_heads


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
    config = hub_config(next(model for model, row in ROWS.items() if row["architecture"] == architecture))
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
    gemma, mistral = (hub_config(model) for model in ("google/gemma-3-4b-pt", "mistralai/Mistral-7B-v0.1"))
    assert from_config(gemma | listed, "listed").n_sliding_layers == 1
    assert from_config(mistral | listed, "listed").n_sliding_layers == 32


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_transformers_saves_is_read_like_what_it_was_made_from(architecture: str, tmp_path: Path) -> None:
    config = hub_config(next(model for model, row in ROWS.items() if row["architecture"] == architecture))
    real_config(config).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert len(saved) > len(config)
    assert from_config(saved, "x") == from_config(config, "x")


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
    config = hub_config("Qwen/Qwen2.5-0.5B")
    del config["architectures"]
    assert from_config(config | {"model_type": "qwen2"}, "x").parameters() == 494_032_768


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "Qwen3MoeForCausalLM, a mixture of experts"),
        ({"architectures": ["MixtralForCausalLM"], "num_local_experts": 8}, "a mixture of experts"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "Qwen2ForSequenceClassification"),
        ({"architectures": [], "model_type": "mamba"}, "mamba"),
        ({"architectures": None}, "names no architecture"),
        ({"architectures": [["Qwen2ForCausalLM"]]}, "is a ["),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, "text_config"),
        ({"hidden_size": None}, "hidden_size None"),
        ({"num_hidden_layers": 0}, "num_hidden_layers 0"),
        ({"vocab_size": "many"}, "vocab_size 'many'"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "quantised by awq"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "to 8 bits"),
        ({"num_key_value_heads": 3}, "3 key-value heads"),
        ({"num_attention_heads": 15, "num_key_value_heads": 5}, "hidden_size 896, 15 heads"),
    ],
)
def test_a_config_that_cannot_be_counted_says_why(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ModelError) as caught:
        from_config(hub_config("Qwen/Qwen2.5-0.5B") | change, "mine")
    assert word in caught.value.found
    assert caught.value.wanted


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"])
def test_a_missing_key_is_named(key: str) -> None:
    config = hub_config("Qwen/Qwen2.5-0.5B")
    del config[key]
    with pytest.raises(ModelError, match=f"the config of mine has no {key}"):
        from_config(config, "mine")


@pytest.mark.parametrize("quantisation", [None, {"quant_method": "bitsandbytes", "load_in_4bit": True}])
def test_a_copy_in_4_bits_has_the_shape_of_its_original(quantisation: dict[str, Any] | None) -> None:
    config = hub_config("Qwen/Qwen2.5-0.5B")
    assert from_config(config | {"quantization_config": quantisation}, "x") == from_config(config, "x")


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2),
    st.floats(),
    st.text(max_size=2),
    st.lists(st.none() | st.integers(0, 1), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=1),
)


@settings(max_examples=300, deadline=None)
@given(st.data(), JUNK)
def test_whatever_stands_in_a_config_the_answer_is_a_shape_or_a_model_error(data: st.DataObject, junk: Any) -> None:
    architecture = data.draw(st.sampled_from(ARCHITECTURES))
    config = hub_config(next(model for model, row in ROWS.items() if row["architecture"] == architecture))
    config |= {"use_sliding_window": True, "sliding_window": 512}
    keys = {
        *config,
        *DATA["architectures"][architecture]["defaults"],
        "model_type",
        "layer_types",
        "text_config",
        "quantization_config",
    }
    with suppress(ModelError):
        shape = from_config(config | {data.draw(st.sampled_from(sorted(keys))): junk}, "mine")
        assert isinstance(shape, Shape)
        assert shape.parameters() > 0
        assert shape.n_sliding_layers <= shape.n_layers


SKIPPED = ("lm_head", "model.layers.1.self_attn", "model.layers.0.mlp", "model.layers.2.mlp.down_proj", "up_proj")
SKIPPED += ("model.layers.0.self_attn.q_proj", "model.layers", "visual", "layers.1.mlp.gate_proj")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(SKIPPED)))
def test_a_copy_keeps_in_16_bit_what_transformers_leaves_alone(listed: list[str]) -> None:
    import torch
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "vocab_size": 128}
    config = hub_config("Qwen/Qwen3-0.6B") | sizes
    quantisation = {"load_in_4bit": True, "llm_int8_skip_modules": listed}
    real = replace_with_bnb_linear(build(config), [*listed, "lm_head"], BitsAndBytesConfig(load_in_4bit=True))
    kept = sum(m.weight.numel() for n, m in real.named_modules() if type(m) is torch.nn.Linear and n != "lm_head")
    assert from_config({**config, "quantization_config": quantisation}, "a copy").n_unquantised == kept
