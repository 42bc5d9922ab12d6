"""Save what was trained, and upload it when asked."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from toolkit.backends.base import Backend, Policy
from toolkit.display.console import say
from toolkit.errors import HubError, ModelError, RunFolderError
from toolkit.machine import processes
from toolkit.runs import Run
from toolkit.runs.folder import ensure_room
from toolkit.settings import RecordSettings
from toolkit.units import gib

MERGED = "merged_16bit"


def save(policy: Policy, backend: Backend, settings: RecordSettings, run: Run) -> list[Path]:
    """Write the adapter, and the merged model when asked; return the folders, none where another process writes."""
    if not run.writes:
        return []
    if processes.sharding():  # the weights here are a part; the last checkpoint has them all
        _copy_adapter(policy, run)
    else:
        backend.save_adapter(policy, run.adapter)
    folders = [run.adapter]
    if settings.save == MERGED:
        n_bytes = 2 * sum(p.numel() * (2 if p.dtype.itemsize == 1 else 1) for p in policy.model.parameters())
        ensure_room(run.folder, 1.1 * gib(n_bytes))  # an NF4 byte holds two weights, each two bytes when merged
        backend.save_merged_16bit(policy, run.adapter, run.folder / MERGED)
        folders.append(run.folder / MERGED)
    return folders


def check_room_for_base(base: str, model: str) -> None:
    """Find out before the run whether the 16-bit base that a merge fetches has room in the Hub's cache.

    Nothing is said where it is there already, or where the size of `model` is not known.

    Raises:
        RunFolderError: the disk under the cache has too little free.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    from toolkit.vram.catalog import find

    if isinstance(try_to_load_from_cache(base, "config.json"), str):
        return
    with suppress(ModelError):
        room = "make room, move the cache with HF_HOME, or --save adapter"
        ensure_room(Path(constants.HF_HUB_CACHE), gib(2 * find(model).parameters()), room)


def _copy_adapter(policy: Policy, run: Run) -> None:
    """Take the adapter from the last checkpoint, which transformers writes after the last step."""
    checkpoint = run.last_checkpoint()
    if checkpoint is None:
        raise RunFolderError(f"{run.checkpoints} has no whole checkpoint", "the one of the last step")
    run.adapter.mkdir(exist_ok=True)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy2(checkpoint / name, run.adapter / name)
    policy.tokenizer.save_pretrained(run.adapter)


def check_push(settings: RecordSettings) -> None:
    """Raise HubError before the run where the upload at its end could not work: repository name, token, connection."""
    if settings.push_to_hub is None:
        return
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(settings.push_to_hub)
    except HFValidationError as error:
        raise HubError(f"--push_to_hub {settings.push_to_hub}", "owner/name of letters, digits, - _ .") from error
    if settings.push_to_hub.count("/") != 1:
        raise HubError(f"--push_to_hub {settings.push_to_hub} names no owner", "owner/name")
    if get_token() is None:
        raise HubError("--push_to_hub without a Hub token", "HF_TOKEN, or a login", "run: hf auth login")
    try:
        HfApi().whoami()
    except HfHubHTTPError as error:
        raise HubError("the Hub refuses the token", "a token with write access", "run: hf auth login") from error
    except Exception as error:  # httpx raises its own kinds, and offline mode another
        raise HubError("no network: the Hub does not answer", "a connection", "drop --push_to_hub") from error


def push(folders: list[Path], settings: RecordSettings) -> None:
    """Upload the last of the saved folders (the merged model where there is one) and say where it is.

    The repository is private unless `public`. The token is taken by huggingface_hub itself and never seen here.

    Raises:
        HubError: the upload failed; what was saved stays on disk.
    """
    if settings.push_to_hub is None or not folders:
        return
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        with tempfile.TemporaryDirectory() as staging:
            folder = without_local_paths(folders[-1], Path(staging) / folders[-1].name)
            url = api.create_repo(settings.push_to_hub, private=not settings.public, exist_ok=True)
            api.upload_folder(repo_id=settings.push_to_hub, folder_path=folder, commit_message="Upload GRPO result")
    except Exception as error:
        raise HubError(
            f"the upload to {settings.push_to_hub} failed ({type(error).__name__})",
            "a token with write access and a connection",
            f"what was saved is in {folders[-1]}",
        ) from error
    say(f"pushed to {url} ({'public' if settings.public else 'private'})")


def without_local_paths(folder: Path, copy: Path) -> Path:
    """Copy a saved folder for others: PEFT writes the base model's local path into two of its files.

    The path becomes its last part, which at least names the base, and PEFT's model card, made around it, stays behind.
    """
    shutil.copytree(folder, copy)
    config = copy / "adapter_config.json"
    if config.exists():
        adapter = json.loads(config.read_text(encoding="utf-8"))
        base = Path(adapter["base_model_name_or_path"] or "")
        if base.is_absolute():
            config.write_text(json.dumps(adapter | {"base_model_name_or_path": base.name}, indent=2), encoding="utf-8")
            (copy / "README.md").unlink(missing_ok=True)
    return copy
