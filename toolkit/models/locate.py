"""From the name a user gives to a folder or Hub id that can be loaded, checked before torch is."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.errors import HubError, ModelError, did_you_mean
from toolkit.models import embedded

# Models that the presets and the README name; used only to guess what a misspelled id meant
KNOWN = tuple(
    f"Qwen/{family}-{size}{suffix}"
    for family, sizes, suffix in (
        ("Qwen2.5", ("0.5B", "1.5B", "3B", "7B", "14B"), "-Instruct"),
        ("Qwen3", ("0.6B", "1.7B", "4B", "8B", "14B"), ""),
    )
    for size in sizes
)
PICKLE_SUFFIXES = (".bin", ".pt", ".pth")


def locate(model: str, weights: str | None = None) -> str:
    """Return what `from_pretrained` takes: a folder's path or a Hub id that exists.

    `weights` is the Hub id that the engine takes instead, where it has a copy of its own: either will do in the cache.

    Raises:
        ModelError: no such folder or repository, a folder without config or safetensors.
        HubError: the Hub cannot be reached and the model is not in the local cache, or it is gated.
    """
    if model == embedded.NAME:
        return str(embedded.folder())
    path = Path(os.path.expanduser(model))
    # Not Path.exists, which raises for a name longer than the file system takes
    if os.path.exists(path) or model.startswith((".", "/", "~")):
        return str(_check_folder(path, model))
    return _check_hub_id(model, weights or model)


def _check_folder(path: Path, model: str) -> Path:
    if not os.path.isdir(path):
        raise ModelError(f"--model {model} is not a folder", "a model folder, a Hub id or `embedded`")
    if not (path / "config.json").exists():
        hint = "an adapter: give its base model" if (path / "adapter_config.json").exists() else "no config.json"
        raise ModelError(f"--model {model} holds {hint}", "a folder with config.json and safetensors weights")
    if not list(path.glob("*.safetensors")):
        pickles = [p.name for p in path.iterdir() if p.suffix in PICKLE_SUFFIXES]
        found = f"only pickled weights ({pickles[0]})" if pickles else "no weights"
        raise ModelError(f"--model {model} holds {found}", "safetensors", "convert them with transformers first")
    return path


def _check_hub_id(model: str, weights: str) -> str:
    from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    wanted = "a Hub id `owner/name`, a folder, or `embedded`"
    near = did_you_mean(model, (embedded.NAME, *KNOWN))
    try:
        if any(isinstance(try_to_load_from_cache(name, "config.json"), str) for name in (weights, model)):
            return model
    except HFValidationError as error:
        raise ModelError(f"unknown model {model!r}", near or wanted) from error
    if model.count("/") != 1:
        raise ModelError(f"unknown model {model!r}", near or wanted)
    if constants.is_offline_mode():
        raise _unreachable(model)
    try:
        HfApi().model_info(model, timeout=10)
        if weights != model:
            hf_hub_download(weights, "config.json")  # what is in 16 bit there, for the plan
    except GatedRepoError as error:
        raise HubError(f"{model} is gated", "a token with access", "accept its terms, then: hf auth login") from error
    except RepositoryNotFoundError as error:
        found = f"the Hub has no model {model!r}, or it is private"
        raise ModelError(found, near or wanted, "check the id, or: hf auth login") from error
    except Exception as error:  # the client's own kinds, the transport's, the system's
        raise _unreachable(model) from error
    return model


def _unreachable(model: str) -> HubError:
    return HubError(
        f"the Hub does not answer and {model} is not in the local cache",
        "a network, or a model folder",
        "or --model embedded",
    )
