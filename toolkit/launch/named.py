"""What RUN|ADAPTER|MODEL names, found before anything loads: the weights, and the settings of their run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from toolkit.data.examples import read_files
from toolkit.errors import ModelError, RunFolderError, SettingsError
from toolkit.launch.presets import choose_presets, presets_of
from toolkit.machine.devices import Gpu
from toolkit.models import embedded
from toolkit.runs import reader
from toolkit.runs.names import EVALUATION, SETTINGS
from toolkit.settings import DataSettings, GrpoSettings, ModelSettings, RecordSettings, flatten
from toolkit.settings.parse import parse

Kind = Literal["run", "adapter", "model"]
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
WANTED = "a run folder, an adapter's folder, or a model by folder, Hub id or `embedded`"
_OF_ITS_RECORD = ("config", "resume", "output_dir", "save", "push_to_hub", "public")


@dataclass(frozen=True)
class Named:
    """A policy by name: what to load, and how its run asked, paid and measured."""

    name: str
    """As it was given."""
    kind: Kind
    settings: GrpoSettings
    """The run's, or what a run of this model would have here, under the changes that were asked for."""
    given: frozenset[str] = frozenset()
    why: str = ""
    adapter: Path | None = None
    run: Path | None = None
    """The run that it comes from, where its folder says so."""
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """A short name: the run's where there is one."""
        return (self.run or Path(self.name.rstrip("/"))).name or self.name


def find(name: str, changes: Mapping[str, Any], gpus: list[Gpu], why_no_gpu: str, base: str | None = None) -> Named:
    """What `name` means.

    `changes` are settings, by the names of their flags, that take the place of the run's; `base` is the model under an
    adapter whose own record of it leads nowhere.

    Raises:
        ModelError, RunFolderError: `name` is none of the three, or its folder lacks what would be loaded.
        SettingsError, DataError: a change that is no setting, of a wrong type, or names a file that is not there.
    """
    if not name:
        raise SettingsError("no RUN, ADAPTER or MODEL given", WANTED)
    path = Path(os.path.expanduser(name))
    if not os.path.exists(path):
        return _outside(name, changes, gpus, why_no_gpu, base)
    if not os.path.isdir(path):
        raise ModelError(f"{name} is a file", WANTED)
    if (path / SETTINGS).exists():
        return _run(name, path.resolve(), changes)
    if (path / ADAPTER_CONFIG).exists():
        return _adapter(name, path.resolve(), changes, gpus, why_no_gpu, base)
    if (path / "config.json").exists():
        return _model(name, str(path), _run_around(path.resolve()), changes, gpus, why_no_gpu)
    raise ModelError(f"{name} is no run, no adapter and no model: it has none of their records", WANTED)


def _outside(name: str, changes: Mapping[str, Any], gpus: list[Gpu], why_no_gpu: str, base: str | None) -> Named:
    """What is no folder here: the embedded model, or an adapter or a model of the Hub."""
    if name.startswith((".", "/", "~")):
        raise ModelError(f"{name} does not exist", WANTED)
    fetched = None if name == embedded.NAME else _from_hub(name)
    if fetched is not None:
        return _adapter(name, fetched, changes, gpus, why_no_gpu, base)
    return _model(name, name, None, changes, gpus, why_no_gpu)


def _from_hub(name: str) -> Path | None:
    """The folder of a Hub adapter in the cache, fetched where it is not there; None where `name` is no adapter."""
    from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    from toolkit.machine.hub import ask_hub

    if name.count("/") != 1:
        return None
    try:
        cached = try_to_load_from_cache(name, ADAPTER_CONFIG)
        if isinstance(cached, str):
            return Path(cached).parent
        if isinstance(try_to_load_from_cache(name, "config.json"), str) or not ask_hub().reachable:
            return None
        hf_hub_download(name, ADAPTER_CONFIG)
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))
    except (OSError, HFValidationError):  # no such file or repository: `models.locate` says which, and what is near
        return None


def _run(name: str, folder: Path, changes: Mapping[str, Any]) -> Named:
    if (folder / EVALUATION).exists():
        raise ModelError(
            f"{name} is an evaluation", WANTED, f"hold two against each other: toolkit eval compare {name} B"
        )
    adapter, note = folder / "adapter", ""
    if not (adapter / ADAPTER_WEIGHTS).exists():
        checkpoint = last_checkpoint(folder)
        if checkpoint is None:
            raise RunFolderError(f"{name} has no adapter and no whole checkpoint", "a run that has saved", "finish it")
        step = reader.checkpoint_step(checkpoint)
        adapter, note = checkpoint, f"the run has not ended: its checkpoint of step {step}"
    settings = _with(_settings_of(folder), changes)
    named = Named(name, "run", settings, _given(folder, changes), f"settings of {name}", adapter, folder)
    return replace(named, notes=(note,) if note else ())


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; None where there is none."""
    n = reader.world_size(folder)
    whole = [path for path in (folder / "checkpoints").glob("checkpoint-*") if reader.is_complete(path, n)]
    return max(whole, key=reader.checkpoint_step, default=None)


def _adapter(
    name: str, folder: Path, changes: Mapping[str, Any], gpus: list[Gpu], why_no_gpu: str, base: str | None
) -> Named:
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise ModelError(f"{name} has no {ADAPTER_WEIGHTS}", "an adapter in safetensors", "save it again with PEFT")
    lora = reader.read_json(folder / ADAPTER_CONFIG)
    run = _run_around(folder)
    of_lora = {"lora_rank": lora.get("r"), "lora_alpha": lora.get("lora_alpha")}
    if isinstance(lora.get("target_modules"), list):
        of_lora["target_modules"] = sorted(lora["target_modules"])
    if run is not None:
        settings, why = _settings_of(run), f"settings of {run.name}"
        given = _given(run, changes)
    else:
        settings, why = _for_model(_base_of(name, lora, base), gpus, why_no_gpu)
        given = frozenset(changes)
    if base is not None:
        settings = replace(settings, model=replace(settings.model, model=base))
    asked = {key: value for key, value in of_lora.items() if value is not None} | dict(changes)
    return Named(name, "adapter", _with(settings, asked), given, why, folder, run)


def _base_of(name: str, lora: Mapping[str, Any], given: str | None) -> str:
    """The model under an adapter, by what was given or else the adapter's own record."""
    if given is not None:  # `models.locate` says whether there is such a model
        return given
    recorded = str(lora.get("base_model_name_or_path") or "")
    if not recorded:
        raise ModelError(f"{name} does not say which model it belongs to", "its base", "name it: --base MODEL")
    if Path(recorded).name == embedded.folder().name:  # a folder of whatever machine the run was on
        return embedded.NAME
    if not os.path.exists(recorded) and (recorded.startswith((".", "/", "~")) or recorded.count("/") != 1):
        raise ModelError(f"{name} belongs to {recorded}, which is not here", "its base", "name it: --base MODEL")
    return recorded


def _model(
    name: str, model: str, run: Path | None, changes: Mapping[str, Any], gpus: list[Gpu], why_no_gpu: str
) -> Named:
    if run is not None:  # merged into 16 bit at the end of it
        settings, given, why = _settings_of(run), _given(run, changes), f"settings of {run.name}"
        settings = replace(settings, model=replace(settings.model, model=model, load_in_4bit=False))
    else:
        settings, why = _for_model(model, gpus, why_no_gpu)
        given = frozenset({"model", *changes})
    return Named(name, "model", _with(settings, changes), given, why, run=run)


def _for_model(model: str, gpus: list[Gpu], why_no_gpu: str) -> tuple[GrpoSettings, str]:
    """What a recipe would run this model with on this machine."""
    asked = GrpoSettings(model=ModelSettings(model=model), record=RecordSettings())
    presets, why = choose_presets(asked, {"model"}, gpus, why_no_gpu, presets_of(Path("none")))
    return parse(GrpoSettings, ["--model", model], presets), why


def _run_around(folder: Path) -> Path | None:
    """The run that an adapter, a checkpoint or a merged model lies in."""
    return next((parent for parent in folder.parents[:2] if _is_run(parent)), None)


def _is_run(folder: Path) -> bool:
    try:
        return isinstance(json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["requested"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _settings_of(folder: Path) -> GrpoSettings:
    """The run's own, but for those that only its recipe has, and for where it was recorded."""
    if not _is_run(folder):
        raise RunFolderError(f"{folder} is not a run folder", f"a folder whose {SETTINGS} says what was asked")
    known = flatten(GrpoSettings()).keys() - set(_OF_ITS_RECORD)
    saved = {name: value for name, value in reader.requested_settings(folder).items() if name in known}
    return parse(GrpoSettings, [], [(str(folder / SETTINGS), saved)])


def _given(folder: Path, changes: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({*reader.given_names(folder), *changes})


def _with(settings: GrpoSettings, changes: Mapping[str, Any]) -> GrpoSettings:
    """The settings under the changes; files that these name are read, as `frame.prepare` does it."""
    asked = {name: value for name, value in changes.items() if value is not None}
    if files := {name: str(asked[name]) for name in ("system_prompt", "examples") if name in asked}:
        read = read_files(replace(DataSettings(), **files))
        asked |= {name: getattr(read, name) for name in files}
    both = {**flatten(settings), **asked}
    return parse(GrpoSettings, [], [("", {name: value for name, value in both.items() if value is not None})])
