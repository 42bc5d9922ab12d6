"""A config.json as transformers 5.17 reads it: which architecture it is, and what an absent key means.

The rules are those of transformers' models/*/configuration_*.py and modeling_*.py, kept as data in models.json;
tests/unit/vram/test_configs.py holds them against the real classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from toolkit.errors import ModelError
from toolkit.vram.shapes import Shape

VISION_AND_TEXT = "Gemma3ForConditionalGeneration"  # its text_config is a Gemma3ForCausalLM's
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")  # Qwen's, Mixtral's and DeepSeek's key


@dataclass(frozen=True)
class _Architecture:
    """How transformers reads the config of one class; a row of models.json."""

    model_type: str
    defaults: Mapping[str, Any]
    """What the config class assumes for keys that are absent."""
    fixed: Mapping[str, Any]
    """Keys that the model class ignores, with the values that it acts by."""
    sliding: str = "none"
    """Which layers have a window where there is one and the config does not list them; see `_sliding_layers`."""
    n_norms: int = 2
    qk_norm: bool = False
    fused: bool = False


def read_config(file: Path) -> Mapping[str, Any]:
    """The object in a JSON file; a ModelError where it cannot be read, is not JSON, or holds something else."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror})", "a file that this user may read") from error
    except ValueError as error:
        raise ModelError(f"{file} is not JSON ({error})", f"the {file.name} of a model") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} holds a {type(config).__name__}", f"the {file.name} of a model")
    return config


def from_config(config: Mapping[str, Any], name: str) -> Shape:
    """The shape of the model that transformers would build; for Gemma 3 with vision, that of its text model.

    Raises:
        ModelError: an architecture that is not supported, quantised weights that are not bitsandbytes' 4 bit, an
            absent key that has no default, or an impossible number.
    """
    architecture, text = _language_model(config, name)
    _refuse_other_quantisation(config.get("quantization_config"), name)
    rules = _architectures()[architecture]
    values = {**rules.defaults, **text, **rules.fixed}
    n_layers = _count(values, "num_hidden_layers", name)
    n_heads, n_kv_heads, head_dim = _heads(values, name)
    window, n_sliding = _sliding(values, n_layers, rules.sliding, name)
    shape = Shape(
        name=name,
        architecture=architecture,
        hidden=_count(values, "hidden_size", name),
        intermediate=_count(values, "intermediate_size", name),
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        vocab=_count(values, "vocab_size", name),
        tied=bool(values["tie_word_embeddings"]),
        attention_bias=bool(values["attention_bias"]),
        qk_norm=rules.qk_norm,
        n_norms_per_layer=rules.n_norms,
        max_position_embeddings=_count(values, "max_position_embeddings", name),
        sliding_window=window,
        n_sliding_layers=n_sliding,
        output_bias=bool(values.get("output_bias", values["attention_bias"])),
        mlp_bias=bool(values["mlp_bias"]),
        fused=rules.fused,
        attention_softcap=_softcap(values, "attn_logit_softcapping", name),
        config={**text, "model_type": rules.model_type},
        logit_softcap=_softcap(values, "final_logit_softcapping", name),
    )
    return replace(shape, n_unquantised=_n_unquantised(shape, config.get("quantization_config")))


def _language_model(config: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]]:
    """The architecture that is counted and the part of the config that describes it."""
    model_type, listed = config.get("model_type"), config.get("architectures")
    named = listed[0] if isinstance(listed, list) and listed else None
    if named == VISION_AND_TEXT or (named is None and model_type == "gemma3"):
        text = config.get("text_config")
        if not isinstance(text, Mapping):
            raise ModelError(f"the config of {name} has no text_config", "the config.json of a whole Gemma 3")
        outer = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
        return "Gemma3ForCausalLM", {**text, **outer}
    if named is None:
        named = next((key for key, rules in _architectures().items() if rules.model_type == model_type), None)
    if named not in tuple(_architectures()):  # a tuple: what stands there need not be a string
        raise _unsupported(config, str(named or model_type or ""), name)
    return named, config


def _unsupported(config: Mapping[str, Any], architecture: str, name: str) -> ModelError:
    supported = f"one of {', '.join((*_architectures(), VISION_AND_TEXT))}"
    if not architecture:
        return ModelError(f"the config of {name} names no architecture", supported, "is it a model's config.json?")
    if "moe" in architecture.lower() or any(config.get(key) for key in EXPERTS):
        found = f"{name} is a {architecture}, a mixture of experts"
        return ModelError(found, f"a dense model, {supported}", "mixtures of experts are not planned")
    return ModelError(f"{name} is a {architecture}", supported, "memory can be planned for those only")


def _refuse_other_quantisation(quantisation: Any, name: str) -> None:
    """Refuse weights in a form that the plan cannot count and no backend trains on."""
    if not quantisation or (isinstance(quantisation, Mapping) and quantisation.get("load_in_4bit")):
        return
    method = quantisation.get("quant_method") if isinstance(quantisation, Mapping) else None
    bits = " to 8 bits" if isinstance(quantisation, Mapping) and quantisation.get("load_in_8bit") else ""
    found = f"the weights of {name} are quantised by {method or 'an unnamed method'}{bits}"
    raise ModelError(found, "16-bit weights, or bitsandbytes' in 4 bits", "give the model that it was made from")


def _n_unquantised(shape: Shape, quantisation: Any) -> int:
    """Weights of the projections that bitsandbytes leaves as they are, by the names that the config lists.

    A name stands for the module of that name, for all below it, and for those whose name ends in it
    (`should_convert_module` in transformers' quantizers/quantizers_utils.py).
    """
    listed = quantisation.get("llm_int8_skip_modules") if isinstance(quantisation, Mapping) else None
    given = [name for name in listed if isinstance(name, str) and name] if isinstance(listed, list) else []
    names = tuple(name.replace("language_model.", "") for name in given)  # as a model with vision calls its text model
    return sum(n for module, n in shape.modules() if module.startswith(names) or module.endswith(names))


def _heads(values: Mapping[str, Any], name: str) -> tuple[int, int, int]:
    """Query heads, key-value heads, and the width of one."""
    hidden, n_heads = _count(values, "hidden_size", name), _count(values, "num_attention_heads", name)
    n_kv_heads = n_heads if values["num_key_value_heads"] is None else _count(values, "num_key_value_heads", name)
    if n_heads % n_kv_heads or (values["head_dim"] is None and hidden % n_heads):
        found = f"the config of {name} has hidden_size {hidden}, {n_heads} heads and {n_kv_heads} key-value heads"
        raise ModelError(found, "sizes that divide: hidden by heads, heads by key-value heads")
    head_dim = hidden // n_heads if values["head_dim"] is None else _count(values, "head_dim", name)
    return n_heads, n_kv_heads, head_dim


def _sliding(values: Mapping[str, Any], n_layers: int, pattern: str, name: str) -> tuple[int | None, int]:
    """The window in tokens, and how many layers have it; (None, 0) when none has."""
    if not values["sliding_window"] or not values.get("use_sliding_window", True):
        return None, 0
    listed = _listed(values, "layer_types", name)
    n = listed.count("sliding_attention") if listed else _sliding_layers(pattern, values, n_layers, name)
    return (_count(values, "sliding_window", name), n) if n else (None, 0)


def _sliding_layers(pattern: str, values: Mapping[str, Any], n_layers: int, name: str) -> int:
    match pattern:
        case "all":
            return n_layers
        case "late":
            return max(0, n_layers - _count(values, "max_window_layers", name, at_least=0))
        case "every other":
            return (n_layers + 1) // 2
        case "but every nth":
            return n_layers - n_layers // _count(values, "sliding_window_pattern", name)
        case "without rope":
            with_rope = _listed(values, "no_rope_layers", name)  # 1 where a layer has rope, whatever the name says
            interval = _count(values, "no_rope_layer_interval", name)
            return with_rope[:n_layers].count(0) if with_rope else n_layers // interval
        case _:
            return 0


def _count(values: Mapping[str, Any], key: str, name: str, at_least: int = 1) -> int:
    if key not in values:
        raise ModelError(f"the config of {name} has no {key}", f"{key} in its config.json", "is the file whole?")
    value = values[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ModelError(f"the config of {name} has {key} {value!r}", f"a whole number from {at_least}")
    return value


def _listed(values: Mapping[str, Any], key: str, name: str) -> list[Any]:
    """One entry a layer, or an empty list where the key is absent or null."""
    value = values.get(key) or []
    if not isinstance(value, list):
        raise ModelError(f"the config of {name} has {key} {value!r}", "a list with one entry a layer")
    return value


def _softcap(values: Mapping[str, Any], key: str, name: str) -> float | None:
    value = values.get(key)
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not value > 0):
        raise ModelError(f"the config of {name} has {key} {value!r}", "a number above 0, or null")
    return value


@lru_cache(maxsize=1)
def tables() -> dict[str, Any]:
    """models.json: `architectures`, which this module reads, and `models` with `aliases`, which the catalog reads."""
    return json.loads(files("toolkit.vram").joinpath("models.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _architectures() -> dict[str, _Architecture]:
    """Rules by class name, with the defaults that all classes share filled in."""
    rows = tables()["architectures"]
    return {
        key: _Architecture(**{**row, "defaults": rows["all"] | row["defaults"]})
        for key, row in rows.items()
        if key != "all"
    }
