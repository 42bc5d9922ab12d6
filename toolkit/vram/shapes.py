"""What a model is made of: every parameter counted from its configuration, without torch and without the Hub.

`models.json` holds the known Hub ids; any config.json of a supported architecture is read by the same rules. The rules
are those of transformers 5.17 (models/*/modeling_*.py and configuration_*.py), and tests/unit/test_shapes.py builds
the real classes to compare. Only the language model is counted: Gemma 3's vision tower is not.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from toolkit.errors import ModelError, SettingsError, did_you_mean

VISION_AND_TEXT = "Gemma3ForConditionalGeneration"  # its text_config is a Gemma3ForCausalLM's
MIRROR_OWNERS = ("", "unsloth")  # their names stand for the original's
MIRROR_SUFFIXES = ("-unsloth-bnb-4bit", "-bnb-4bit")
SHORT_TARGETS = {
    "attention": ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "gate_up_proj", "down_proj"),
}


@dataclass(frozen=True)
class Shape:
    """The sizes of one decoder. Counts are exact; a tied head is counted once, in the embedding."""

    name: str
    """Hub id, or the folder's name."""
    architecture: str
    hidden: int
    intermediate: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    """The head shares the embedding's matrix."""
    attention_bias: bool
    """Biases on q, k and v (Qwen2 has them always)."""
    qk_norm: bool
    """An RMSNorm of `head_dim` weights on queries and one on keys (Qwen3, Gemma 3)."""
    n_norms_per_layer: int
    """2, or 4 where each block is also normalised after itself (Gemma 2 and 3)."""
    max_position_embeddings: int
    sliding_window: int | None = None
    """Tokens that a sliding layer looks back, None when all layers look at everything."""
    n_sliding_layers: int = 0
    output_bias: bool = False
    """A bias on o_proj."""
    mlp_bias: bool = False
    fused: bool = False
    """q, k, v are one module and gate, up another (Phi-3 and Phi-4)."""
    attention_softcap: float | None = None
    """Gemma 2: attention scores pass through cap * tanh(score / cap), which SDPA's fast kernels cannot do."""
    logit_softcap: float | None = None
    """Gemma 2: the same on the logits, one more vocabulary-wide buffer."""

    @property
    def q_dim(self) -> int:
        """Width of all query heads; not always `hidden`."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.n_kv_heads * self.head_dim

    def linears(self) -> dict[str, tuple[int, int]]:
        """Module name of each projection of a layer -> (in, out) features, in the order of the forward pass."""
        h, i, q, k = self.hidden, self.intermediate, self.q_dim, self.kv_dim
        if self.fused:
            return {"qkv_proj": (h, q + 2 * k), "o_proj": (q, h), "gate_up_proj": (h, 2 * i), "down_proj": (i, h)}
        attention = {"q_proj": (h, q), "k_proj": (h, k), "v_proj": (h, k), "o_proj": (q, h)}
        return attention | {"gate_proj": (h, i), "up_proj": (h, i), "down_proj": (i, h)}

    def parameters(self) -> int:
        """All parameters of the language model, as `sum(p.numel() for p in model.parameters())`."""
        return self.embedding_parameters() + self.linear_parameters() + self.other_parameters()

    def linear_parameters(self) -> int:
        """Weights of the projections of all layers, without biases: what NF4 quantises."""
        return self.n_layers * sum(n_in * n_out for n_in, n_out in self.linears().values())

    def embedding_parameters(self) -> int:
        """The embedding, and the head where it has a matrix of its own."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    def other_parameters(self) -> int:
        """Norms (the last one too) and biases."""
        per_layer = self.n_norms_per_layer * self.hidden
        per_layer += 2 * self.head_dim if self.qk_norm else 0
        per_layer += self.q_dim + 2 * self.kv_dim if self.attention_bias else 0
        per_layer += self.hidden if self.output_bias else 0
        per_layer += 2 * self.intermediate + self.hidden if self.mlp_bias else 0
        return self.n_layers * per_layer + self.hidden

    def lora_parameters(self, rank: int, targets: Sequence[str]) -> int:
        """Trained weights of LoRA: A is (rank, in) and B (out, rank) for each target module (arXiv:2106.09685).

        Raises:
            SettingsError: a target that this architecture does not have.
        """
        linears = self.linears()
        return self.n_layers * rank * sum(sum(linears[name]) for name in parse_targets(targets, self))


@dataclass(frozen=True)
class _Architecture:
    """How transformers reads the config of one class; a row of models.json."""

    model_type: str
    defaults: Mapping[str, Any]
    """What the config class assumes for keys that published configs leave out."""
    fixed: Mapping[str, Any]
    """Keys that the model class does not read, with what it does instead."""
    sliding: str = "none"
    """Which layers have a window, when there is one and the config does not list them (`_sliding_layers`)."""
    n_norms: int = 2
    qk_norm: bool = False
    fused: bool = False


def from_config(config: Mapping[str, Any], name: str) -> Shape:
    """Read a config.json of a supported architecture as transformers would; of Gemma 3 with vision, its text model.

    Raises:
        ModelError: another architecture, an absent key that has no default, or a number that cannot be.
    """
    architecture, text = _language_model(config, name)
    rules = _architectures()[architecture]
    values = {**rules.defaults, **text, **rules.fixed}
    n_layers = _count(values, "num_hidden_layers", name)
    n_heads, n_kv_heads, head_dim = _heads(values, name)
    window, n_sliding = _sliding(values, n_layers, rules.sliding)
    return Shape(
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
        attention_softcap=values.get("attn_logit_softcapping"),
        logit_softcap=values.get("final_logit_softcapping"),
    )


def _heads(values: Mapping[str, Any], name: str) -> tuple[int, int, int]:
    """Query heads, key-value heads, and the width of one."""
    hidden, n_heads = _count(values, "hidden_size", name), _count(values, "num_attention_heads", name)
    n_kv_heads = n_heads if values["num_key_value_heads"] is None else _count(values, "num_key_value_heads", name)
    if n_heads % n_kv_heads or (values["head_dim"] is None and hidden % n_heads):
        found = f"the config of {name} has hidden_size {hidden}, {n_heads} heads and {n_kv_heads} key-value heads"
        raise ModelError(found, "sizes that divide: hidden by heads, heads by key-value heads")
    head_dim = hidden // n_heads if values["head_dim"] is None else _count(values, "head_dim", name)
    return n_heads, n_kv_heads, head_dim


def _sliding(values: Mapping[str, Any], n_layers: int, pattern: str) -> tuple[int | None, int]:
    """The window in tokens, and the layers that have it; (None, 0) when none has."""
    window = values["sliding_window"] if values.get("use_sliding_window", True) else None
    listed = values.get("layer_types")
    n = listed.count("sliding_attention") if listed else _sliding_layers(pattern, values, n_layers)
    return (window, n) if window and n else (None, 0)


def _sliding_layers(pattern: str, values: Mapping[str, Any], n_layers: int) -> int:
    match pattern:
        case "all":
            return n_layers
        case "late":
            return max(0, n_layers - values["max_window_layers"])
        case "every other":
            return (n_layers + 1) // 2
        case "but every nth":
            return n_layers - n_layers // values["sliding_window_pattern"]
        case "without rope":
            with_rope = values["no_rope_layers"]  # 1 where a layer has it, against what the name says
            return with_rope[:n_layers].count(0) if with_rope else n_layers // values["no_rope_layer_interval"]
        case _:
            return 0


def _language_model(config: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]]:
    """The architecture that is counted and the part of the config that describes it."""
    model_type = config.get("model_type")
    named = next(iter(config.get("architectures") or ()), None)
    if named == VISION_AND_TEXT or (named is None and model_type == "gemma3"):
        text = config.get("text_config")
        if not isinstance(text, Mapping):
            raise ModelError(f"the config of {name} has no text_config", "the config.json of a whole Gemma 3")
        outer = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
        return "Gemma3ForCausalLM", {**text, **outer}
    if named is None:
        named = next((key for key, rules in _architectures().items() if rules.model_type == model_type), None)
    if named not in _architectures():
        found = f"{name} is a {named or model_type}" if named or model_type else f"{name} names no architecture"
        supported = ", ".join((*_architectures(), VISION_AND_TEXT))
        raise ModelError(found, f"one of {supported}", "memory can be planned for those only")
    return named, config


def _count(values: Mapping[str, Any], key: str, name: str) -> int:
    if key not in values:
        raise ModelError(f"the config of {name} has no {key}", f"{key} in its config.json", "is the file whole?")
    value = values[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"the config of {name} has {key} {value!r}", "a whole number from 1")
    return value


def find(model: str) -> Shape:
    """Return the shape of a Hub id, a folder or a config.json.

    Ids may leave out the owner and any capitals. Names of Unsloth's copies and of 4-bit copies (`-bnb-4bit`) stand for
    the model they copy, except where the copy has other modules (`unsloth/phi-4`). A folder wins over an id, as in
    transformers.

    Raises:
        ModelError: a name that is in no table (nearest names), a folder or file without a usable config.
    """
    path = Path(os.path.expanduser(model))  # Path's own raises for an unknown user
    if model and (os.path.exists(path) or model.startswith((".", "/", "~")) or model.endswith(".json")):
        return from_config(*_read(path, model))
    by_id, by_name = _table()
    owner, _, name = _plain(model).rpartition("/")
    shape = by_id.get(f"{owner}/{name}")
    if shape is None and (owner in MIRROR_OWNERS or model.lower().endswith(MIRROR_SUFFIXES)):
        shape = by_name.get(name)
    if shape is None:
        raise _unknown(model)
    return shape


def known_models() -> tuple[str, ...]:
    """Every Hub id of the table."""
    return tuple(shape.name for shape in _table()[0].values())


def _read(path: Path, model: str) -> tuple[Mapping[str, Any], str]:
    file = path / "config.json" if path.is_dir() else path
    adapter = path / "adapter_config.json"
    if not file.is_file():
        found = f"{model} holds no config.json" if path.is_dir() else f"{model} does not exist"
        hint = "it is an adapter: give its base model" if adapter.is_file() else ""
        raise ModelError(found, "a model folder, a config.json or a Hub id", hint)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not JSON ({error})", "the config.json of a model") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} holds a {type(config).__name__}", "the config.json of a model")
    return config, file.resolve().parent.name


def _plain(model: str) -> str:
    """`unsloth/Meta-Llama-3.1-8B-bnb-4bit` -> `unsloth/llama-3.1-8b`."""
    owner, slash, name = model.strip().lower().rpartition("/")
    for suffix in MIRROR_SUFFIXES:
        name = name.removesuffix(suffix)
    return f"{owner}{slash}{name.removeprefix('meta-')}"


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    return json.loads(files("toolkit.vram").joinpath("models.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _architectures() -> dict[str, _Architecture]:
    """Rules by class name, with the defaults that all classes share filled in."""
    rows = _data()["architectures"]
    return {
        key: _Architecture(**{**row, "defaults": rows["all"] | row["defaults"]})
        for key, row in rows.items()
        if key != "all"
    }


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Shapes of models.json by plain id, and by plain name without owner."""
    data = _data()
    by_id: dict[str, Shape] = {}
    for row in data["models"]:
        for model, positions in row["ids"].items():
            config = {"architectures": [row["architecture"]], **row["config"], "max_position_embeddings": positions}
            by_id[_plain(model)] = from_config(config, model)
    by_name = {name: by_id[_plain(model)] for name, model in data["aliases"].items()}
    for key, shape in by_id.items():
        owner, _, name = key.rpartition("/")
        if owner not in MIRROR_OWNERS:
            by_name[name] = shape
    return by_id, by_name


def _unknown(model: str) -> ModelError:
    by_id, by_name = _table()
    near = difflib.get_close_matches(model.lower(), [*by_id, *by_name], n=6, cutoff=0.6)
    names = list(dict.fromkeys((by_id.get(key) or by_name[key]).name for key in near))[:3]
    wanted = f"did you mean {', '.join(names)}?" if names else "a Hub id of the table"
    return ModelError(f"unknown model {model!r}", wanted, "for another model give its folder or its config.json")


def parse_targets(text: str | Sequence[str], shape: Shape) -> tuple[str, ...]:
    """Module names of LoRA targets, in the order of the forward pass.

    Takes module names, their short forms (`q,k,v,o,gate,up,down`), `attention`, `mlp` and `all-linear` (all but the
    head, as in PEFT), separated by commas or spaces, or as a list.

    Raises:
        SettingsError: nothing named, or a module that the architecture lacks. PEFT would skip it in silence as long
            as another one matches: `q_proj` beside `o_proj` on Phi-4, whose q, k and v are one `qkv_proj`.
    """
    words = text.replace(",", " ").split() if isinstance(text, str) else list(text)
    modules = shape.linears()
    chosen = {name for word in words for name in _expand(word, tuple(modules), shape.architecture)}
    if not chosen:
        raise SettingsError("--lora_targets is empty", f"some of {', '.join(modules)}, or all-linear")
    return tuple(name for name in modules if name in chosen)


def _expand(word: str, modules: tuple[str, ...], architecture: str) -> tuple[str, ...]:
    if word == "all-linear":
        return modules
    if word in SHORT_TARGETS:
        return tuple(name for name in SHORT_TARGETS[word] if name in modules)
    name = word if word in modules else f"{word}_proj"
    if name not in modules:
        wanted = did_you_mean(word, modules) or f"some of {', '.join(modules)}, or all-linear"
        raise SettingsError(f"--lora_targets: {architecture} has no module {word!r}", wanted)
    return (name,)
