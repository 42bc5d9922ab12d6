"""`--grpo.NAME VALUE`: any field of TRL's GRPOConfig that the recipe does not fill itself."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from typing import Any

import tyro

from toolkit.errors import SettingsError, did_you_mean
from toolkit.settings.grpo_fields import grpo_fields
from toolkit.settings.spelling import blaming, flag_name, from_tyro, kinds_of, shape_of, spelled, words_of

GRPO_PREFIX = "--grpo."
MAX_SHOWN = 60  # characters of a user's value in an error

# GRPOConfig fields that the recipe fills itself, with what to use instead: another flag has them under another name,
# or a run's records and `--resume` stand on their value. Some are gone from newer TRL and still in people's notes.
_OWNED = {
    "bf16": "the dtype that the backend chooses",
    "fp16": "the dtype that the backend chooses",
    "use_cpu": "--require_gpu or a machine without a CUDA device",
    "resume_from_checkpoint": "--resume",
    "vllm_gpu_memory_utilization": "--gpu_memory_utilization",
    "vllm_enable_sleep_mode": "--standby",
    "hub_model_id": "--push_to_hub",
    "hub_private_repo": "--public",
    "hub_token": "the environment variable HF_TOKEN",
    "push_to_hub_token": "the environment variable HF_TOKEN",
    "push_to_hub": "--push_to_hub",
    "hub_strategy": "--push_to_hub, which uploads once, at the end",
    "reward_weights": "the weights in the recipe",
    "model_init_kwargs": "the model settings",
    "trust_remote_code": "nothing: remote code is never run",
    "save_only_model": "nothing: --resume needs the optimizer that it would leave out",
    "save_strategy": "--save_steps",
    "save_total_limit": "nothing: the last two checkpoints are kept",
    "ignore_data_skip": "nothing: a resumed run needs its data order",
    "logging_steps": "nothing: every step is recorded in metrics.jsonl",
    "logging_strategy": "nothing: every step is recorded in metrics.jsonl",
    "logging_first_step": "nothing: every step is recorded in metrics.jsonl",
    "logging_dir": "--output_dir",
    "log_completions": "--report_to wandb or trackio, which show them; the run folder holds them anyway",
    "disable_tqdm": "nothing: the run has its own view of progress",
    "generation_batch_size": "--per_device_train_batch_size and --steps_per_generation",
    "auto_find_batch_size": "--per_device_train_batch_size",
    "num_train_epochs": "--max_steps",
    "overwrite_output_dir": "--output_dir with a new folder, or --resume",
}


def split_grpo(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part arguments into a command's own and those of `--grpo.*`, each with the values that follow it, in order."""
    own: list[str] = []
    grpo: list[str] = []
    target = own
    for token in args:
        if token.startswith("--"):
            target = grpo if token.startswith(GRPO_PREFIX) else own
        target.append(token)
    return own, grpo


def grpo_to_args(mapping: Any, known: Mapping[str, Any], source: str) -> list[str]:
    """What a user would type for the `grpo` mapping of a file; `known` holds the command's own flags by name.

    Raises:
        SettingsError: no mapping, a field that GRPOConfig lacks or the recipe owns, or a value of the wrong shape; each
            names `source`, the file.
        ContractError: see `grpo_fields`.
    """
    if not isinstance(mapping, dict):
        raise SettingsError(f"{source}: grpo is {shape_of(mapping)}", "`name: value` lines below grpo", "fix the file")
    declared = grpo_fields() if mapping else {}
    args: list[str] = []
    for name, value in mapping.items():
        with blaming(source):
            _check_grpo_name(str(name), declared, known)
        # None stays a word: in saved settings it was asked for, and another value may be the field's default
        args += [GRPO_PREFIX + name, *words_of(value, declared[name], f"{source}: grpo.{name}")]
    return args


def parse_grpo(args: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Read `--grpo.NAME VALUE` arguments into fields of their declared types; of two with one name the last counts.

    A switch may stand without a value (`--grpo.mask_truncated_completions`); a mapping is one JSON object.

    Raises:
        SettingsError: a field that GRPOConfig lacks (with the nearest) or the recipe owns, or a value of another type.
        ContractError: see `grpo_fields`.
    """
    declared = grpo_fields()
    given: dict[str, list[str]] = {}
    name = ""
    for token in args:
        if not token.startswith(GRPO_PREFIX):
            given[name].append(token)
            continue
        name = flag_name(token).removeprefix("grpo.")
        _check_grpo_name(name, declared, known)
        given[name] = [token.partition("=")[2]] if "=" in token else []
    mappings = {name: _json_mapping(name, words) for name, words in given.items() if dict in kinds_of(declared[name])}
    plain = {name: words for name, words in given.items() if name not in mappings}
    return mappings | (_parse_plain(plain, declared) if plain else {})


def _parse_plain(given: Mapping[str, Sequence[str]], declared: Mapping[str, Any]) -> dict[str, Any]:
    """Have tyro read the words of each field as a command line of its own."""
    args: list[str] = []
    for name, words in given.items():
        kinds = kinds_of(declared[name])
        spelt = [spelled(word, declared[name]) for word in words]
        if not spelt and bool in kinds and str not in kinds:
            spelt = ["True"]
        args += [f"--{name}={spelt[0]}"] if len(spelt) == 1 else [f"--{name}", *spelt]
    cls = make_dataclass("grpo", [(name, declared[name]) for name in given])
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            value = tyro.cli(cls, args=args, use_underscores=True, config=(tyro.conf.FlagConversionOff,))
    except SystemExit:
        raise from_tyro(printed.getvalue().replace("--", GRPO_PREFIX), "see TRL's GRPOConfig") from None
    return vars(value)


def _check_grpo_name(name: str, declared: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise SettingsError, without the value, for a field that the recipe owns or GRPOConfig does not have."""
    if name in _OWNED or (name in known and name in declared):
        own = _OWNED.get(name, f"--{name}")
        raise SettingsError(f"--grpo.{name} names a setting that the recipe owns", own, "leave it out, or use that")
    if name not in declared:
        hint = did_you_mean(name, declared) or "a GRPOConfig field"
        raise SettingsError(f"unknown GRPOConfig field {name!r}", hint, "the fields are those of TRL's GRPOConfig")


def _json_mapping(name: str, words: Sequence[str]) -> dict[str, Any] | None:
    if words in (["None"], ["null"]):
        return None
    try:
        value = json.loads(words[0]) if len(words) == 1 else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    found = f"{GRPO_PREFIX}{name} is {' '.join(words)[:MAX_SHOWN] or 'nothing'}"
    raise SettingsError(found, "one JSON object", f"""for example {GRPO_PREFIX}{name} '{{"name": 1}}'""")
