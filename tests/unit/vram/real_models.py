"""transformers' own models and configs, built without weights, to hold the counted shapes against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from toolkit.vram.shapes import Shape

DATA = json.loads(files("toolkit.vram").joinpath("models.json").read_text(encoding="utf-8"))
ROWS = {next(iter(row["ids"])): row for row in DATA["models"]}
MODEL_TYPES = {key: row["model_type"] for key, row in DATA["architectures"].items() if key != "all"}
ARCHITECTURES = sorted(MODEL_TYPES)
SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
SIGLIP |= {"image_size": 896, "patch_size": 14, "vision_use_head": False}


def hub_config(model: str) -> dict[str, Any]:
    """A config.json for the model that leads a row of models.json."""
    row = ROWS[model]
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
    return build(hub_config(model))


def counted(shape: Shape) -> dict[str, int]:
    return {
        "linear": shape.linear_parameters(),
        "embedding": shape.embedding_parameters(),
        "other": shape.other_parameters(),
        "total": shape.parameters(),
    }


def counts(model: Any) -> dict[str, int]:
    """The real model's parameters by the same groups; a tied head counts in the embedding."""
    import torch

    linear = [m.weight for name, m in model.model.layers.named_modules() if isinstance(m, torch.nn.Linear)]
    embedding = {id(p): p for p in (model.get_input_embeddings().weight, model.lm_head.weight)}
    total = sum(p.numel() for p in model.parameters())
    found = {"linear": sum(p.numel() for p in linear), "embedding": sum(p.numel() for p in embedding.values())}
    return {**found, "other": total - sum(found.values()), "total": total}


def features(model: Any) -> dict[str, tuple[int, int]]:
    """Module name -> (in, out) features of the first layer's projections."""
    import torch

    layer = model.model.layers[0]
    linears = {name: m for name, m in layer.named_modules() if isinstance(m, torch.nn.Linear)}
    return {name.rpartition(".")[2]: (m.in_features, m.out_features) for name, m in linears.items()}
