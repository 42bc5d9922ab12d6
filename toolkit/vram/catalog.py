"""Which model is meant: an id of the built-in table, `embedded`, a folder, a config.json, or one in the Hub's cache.

The table is models.json. Everything is looked up on this machine, without a network.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from toolkit.errors import ModelError
from toolkit.vram.configs import from_config, read_config, tables
from toolkit.vram.shapes import Shape

MIRROR_OWNERS = ("", "unsloth")  # their names stand for the original's
MIRROR_SUFFIXES = ("-unsloth-bnb-4bit", "-bnb-4bit")
QUANTISED = re.compile(r"[-_.](awq|gptq|gguf|exl2|hqq|fp8|int[48]|[48]bit)(?![a-z0-9])")
MIXTURE = re.compile(r"mixtral|(?<![a-z])moe(?![a-z])|-a\d+(\.\d+)?b(?![a-z0-9])")  # Qwen3-30B-A3B: 3B of 30B at work
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def find(model: str) -> Shape:
    """Return the shape of a Hub id, of `embedded`, of a folder or of a config.json.

    Ids may be given without the owner, in any case. Unsloth's copies and 4-bit copies (`-bnb-4bit`) stand for the model
    that they copy, unless the copy has other modules (`unsloth/phi-4`). An id that is not in the table is looked for in
    the local Hugging Face cache. As in `toolkit.models.locate`, `embedded` wins over a folder and a folder over an id.

    Raises:
        ModelError: an unknown name (with the nearest), or a folder or file without a usable config.
    """
    from toolkit.models import embedded  # a floor above

    if model == embedded.NAME:
        return from_config(read_config(embedded.folder() / "config.json"), embedded.NAME)
    path = Path(os.path.expanduser(model))  # Path's own raises for an unknown user
    if model and (os.path.exists(path) or model.startswith((".", "/", "~")) or model.endswith(".json")):
        return _from_path(path, model)
    shape = _from_table(model)
    if shape is None or model.lower().endswith(MIRROR_SUFFIXES):
        cached = _from_cache(model)
        # the table has what was copied; the copy's own config says what it left in 16 bit
        shape = replace(shape, n_unquantised=cached.n_unquantised) if shape and cached else shape or cached
    if shape is None:
        raise _unknown(model)
    return shape


def _from_table(model: str) -> Shape | None:
    by_id, by_name = _table()
    owner, _, name = _plain(model).rpartition("/")
    shape = by_id.get(f"{owner}/{name}")
    if shape is None and (owner in MIRROR_OWNERS or model.lower().endswith(MIRROR_SUFFIXES)):
        shape = by_name.get(name)
    return shape


def _from_path(path: Path, model: str) -> Shape:
    # os.path throughout: Path's own methods raise for a name longer than the file system takes
    file = path / "config.json" if os.path.isdir(path) else path
    wanted = "a model folder, a config.json or a Hub id"
    if not os.path.isfile(file):
        found = f"{model} holds no config.json" if os.path.exists(path) else f"{model} does not exist"
        raise ModelError(found, wanted, _adapter_hint(path / "adapter_config.json"))
    if file.suffix != ".json":
        raise ModelError(f"{model} is a {file.suffix or 'nameless'} file", wanted)  # before gigabytes of it are read
    folder = os.path.dirname(os.path.abspath(file))  # not resolved: files of the Hub's cache are links into `blobs`
    return from_config(read_config(file), os.path.basename(folder) or model)


def _adapter_hint(file: Path) -> str:
    if not os.path.isfile(file):
        return ""
    base = read_config(file).get("base_model_name_or_path")
    return f"it is an adapter: give its base model{f', {base}' if base else ''}"


def _from_cache(model: str) -> Shape | None:
    """The shape of a model that an earlier download left in the local Hugging Face cache."""
    if not HUB_ID.fullmatch(model):
        return None
    from huggingface_hub import try_to_load_from_cache  # takes 0.2 s, which a model of the table need not cost
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None
    return from_config(read_config(Path(file)), model) if isinstance(file, str) else None


def _plain(model: str) -> str:
    """`unsloth/Meta-Llama-3.1-8B-bnb-4bit` -> `unsloth/llama-3.1-8b`."""
    owner, slash, name = model.strip().lower().rpartition("/")
    for suffix in MIRROR_SUFFIXES:
        name = name.removesuffix(suffix)
    return f"{owner}{slash}{name.removeprefix('meta-')}"


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Shapes of models.json by plain id, and by plain name without owner."""
    by_id: dict[str, Shape] = {}
    for row in tables()["models"]:
        for model, positions in row["ids"].items():
            config = {"architectures": [row["architecture"]], **row["config"], "max_position_embeddings": positions}
            by_id[_plain(model)] = from_config(config, model)
    by_name = {name: by_id[_plain(model)] for name, model in tables()["aliases"].items()}
    for key, shape in by_id.items():
        owner, _, name = key.rpartition("/")
        if owner not in MIRROR_OWNERS:
            by_name[name] = shape
    return by_id, by_name


def _unknown(model: str) -> ModelError:
    by_id, by_name = _table()
    plain = _plain(model)
    if quantised := QUANTISED.search(plain):
        original = by_name.get(plain[: quantised.start()].rpartition("/")[2])
        hint = f"give the model that it was made from{f', {original.name}' if original else ''}"
        found = f"{model} holds {quantised[1].upper()} weights, by its name"
        return ModelError(found, "16-bit weights, or bitsandbytes' in 4 bits", hint)
    if MIXTURE.search(plain):
        found = f"{model} is a mixture of experts, by its name"
        return ModelError(found, "a dense model", "mixtures of experts are not planned")
    near = difflib.get_close_matches(plain, [*by_id, *by_name], n=6, cutoff=0.6)
    names = list(dict.fromkeys((by_id.get(key) or by_name[key]).name for key in near))[:3]
    wanted = f"did you mean {', '.join(names)}?" if names else "a Hub id of the table"
    hint = "for another model give its folder or its config.json"
    if HUB_ID.fullmatch(model):
        hint += f", or fetch that once: hf download {model} config.json"
    return ModelError(f"unknown model {model!r}", wanted, hint)
