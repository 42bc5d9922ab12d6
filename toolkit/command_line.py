"""From an argument list to settings: presets, `--grpo.*`, did-you-mean, and errors of one line.

YAML files and saved settings take the same road as flags: they become arguments in front of the user's own,
so one parser checks every value, and the user's flags win.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import make_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import tyro

from toolkit.compat.trl_fields import grpo_fields
from toolkit.errors import SettingsError, did_you_mean
from toolkit.settings import flatten

S = TypeVar("S")
GRPO_PREFIX = "--grpo."
_PYTHON_SPELLING = {"true": "True", "false": "False"}  # YAML's words in tyro's spelling


def parse(cls: type[S], argv: Sequence[str], presets: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> S:
    """Fill the settings dataclass `cls` from `presets` (name, mapping; later wins) and then `argv`.

    `--help` shows the presets' values as defaults, since they are what a run without flags would use.

    Raises:
        SettingsError: unknown name (with the nearest known), or a value of the wrong type.
        SystemExit: code 0 after `--help`.
    """
    settings = cls()
    known = flatten(settings)
    for source, mapping in presets:
        settings = _fill(settings, _mapping_to_args(mapping, known, source), known, source)
    return _fill(settings, _normalise(argv, known), known)


def _fill(settings: S, args: Sequence[str], known: Mapping[str, Any], source: str = "") -> S:
    own, grpo = _split_grpo(args)
    try:
        filled, rest = _run_tyro(settings, own)
        if rest:
            raise _unknown(rest[0], known)
        if grpo and "grpo" not in known:
            raise _unknown(grpo[0], known)
        if grpo:
            merged = {**vars(filled).get("grpo", {}), **_parse_grpo(grpo, known)}
            filled = replace(filled, grpo=merged)  # type: ignore[type-var] # every settings class is a dataclass
    except SettingsError as error:
        if source:
            raise SettingsError(f"{source}: {error.found}", error.wanted, error.next_step) from None
        raise
    return filled


def given_names(argv: Sequence[str]) -> set[str]:
    """The flags a user typed, by name: `{"seed", "grpo.beta"}`."""
    return {_name(token) for token in argv if token.startswith("--")}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a settings file: one flat mapping, with `grpo:` for GRPOConfig fields.

    Raises:
        SettingsError: missing file, broken YAML (with the line), or not a mapping.
    """
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--config {path} cannot be read ({error.strerror})", "a YAML file of settings") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise SettingsError(f"--config {path} is not YAML{line}", "`name: value` lines", "mend the file") from error
    if not isinstance(loaded, dict):
        raise SettingsError(f"--config {path} holds {type(loaded).__name__}", "`name: value` lines", "mend the file")
    return loaded


def _name(token: str) -> str:
    return token.removeprefix("--").partition("=")[0].replace("-", "_")


def _mapping_to_args(mapping: Mapping[str, Any], known: Mapping[str, Any], source: str) -> list[str]:
    args: list[str] = []
    for name, value in mapping.items():
        if name == "grpo":
            args += [a for key, v in (value or {}).items() for a in (GRPO_PREFIX + key, *_words(v))]
        elif name not in known:
            raise SettingsError(f"{source} sets {name!r}", "the name of a setting", did_you_mean(name, known))
        else:
            args += _normalise([f"--{name}", *_words(value)], known)
    return args


def _words(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [str(v) for v in value]
    return [str(value)]


def _normalise(argv: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Spell flags with underscores, and `--standby false` as tyro's `--no-standby`."""
    args: list[str] = []
    tokens = list(argv)
    name = ""
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("--"):
            is_text = isinstance(known.get(name), str)
            args.append(token if is_text else _PYTHON_SPELLING.get(token, token))
            continue
        name, equals, value = _name(token), "=" in token, token.partition("=")[2]
        if isinstance(known.get(name), bool):
            if not equals and tokens and not tokens[0].startswith("--"):
                equals, value = True, tokens.pop(0)
            if equals:
                if value.lower() not in ("true", "false"):
                    raise SettingsError(f"--{name} is {value!r}", "true or false")
                args.append(f"--{name}" if value.lower() == "true" else f"--no-{name}")
                continue
        args.append(f"--{name}={value}" if equals else f"--{name}" if not name.startswith("no_") else token)
    return args


def _split_grpo(args: Sequence[str]) -> tuple[list[str], list[str]]:
    own: list[str] = []
    grpo: list[str] = []
    target = own
    for token in args:
        if token.startswith("--"):
            target = grpo if token.startswith(GRPO_PREFIX) else own
        target.append(token)
    return own, grpo


def _run_tyro(settings: S, args: Sequence[str]) -> tuple[S, list[str]]:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                type(settings), default=settings, args=list(args), return_unknown_args=True, use_underscores=True
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise _from_tyro(printed.getvalue(), "see --help") from None


def _one_line(box: str) -> str:
    """The first paragraph of tyro's error box, without the box."""
    lines = [line.strip(" │╭╮╰╯") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    body = [line for line in lines[1:] if line]
    for i, line in enumerate(body):
        if set(line) <= {"─"}:
            body = body[:i]
            break
    return " ".join(body).replace("`", "'")


# How tyro (Python, in truth) words a value of the wrong type, and how a person would
_WORDINGS = (
    (r"Error parsing (--\S+): invalid literal for int\(\) with base 10: (.+)", "a whole number"),
    (r"Error parsing (--\S+): could not convert string to float: (.+)", "a number"),
)


def _from_tyro(box: str, next_step: str) -> SettingsError:
    line = _one_line(box)
    for pattern, wanted in _WORDINGS:
        if match := re.fullmatch(pattern, line):
            return SettingsError(f"{match[1]} is {match[2]}", wanted, next_step)
    if match := re.fullmatch(r"invalid choice (.+) for argument '(--\S+)'\. Expected one of \((.+)\)\.?", line):
        choices = [choice.strip(" '") for choice in match[3].split(",")]
        near = did_you_mean(match[1].strip("'"), choices)
        return SettingsError(f"{match[2]} is {match[1]}", near or f"one of {', '.join(choices)}", next_step)
    return SettingsError(line, next_step=next_step)


def _unknown(token: str, known: Iterable[str]) -> SettingsError:
    if not token.startswith("--"):
        return SettingsError(f"unexpected argument {token!r}", "flags of the form --name value", "see --help")
    hint = did_you_mean(_name(token), known)
    return SettingsError(
        f"unknown flag --{_name(token)}", hint.replace("mean ", "mean --") or "a flag of this command", "see --help"
    )


def _parse_grpo(args: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    names = list(dict.fromkeys(_name(token).removeprefix("grpo.") for token in args if token.startswith(GRPO_PREFIX)))
    if not names:
        return {}
    declared = grpo_fields()
    for name in names:
        if name not in declared:
            hint = did_you_mean(name, declared) or "a GRPOConfig field"
            raise SettingsError(f"unknown GRPOConfig field {name!r}", hint, "the fields are those of TRL's GRPOConfig")
        if name in known or name in _OWNED:
            own = _OWNED.get(name, f"--{name}")
            raise SettingsError(f"--grpo.{name} names a setting that the recipe owns", f"{own}", "use that flag")
    cls = make_dataclass("grpo", [(name, declared[name]) for name in names])
    own_args = ["--" + token.removeprefix(GRPO_PREFIX) if token.startswith(GRPO_PREFIX) else token for token in args]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            value = tyro.cli(cls, args=own_args, use_underscores=True, config=(tyro.conf.FlagConversionOff,))
    except SystemExit:
        raise _from_tyro(printed.getvalue().replace("--", GRPO_PREFIX), "see TRL's GRPOConfig") from None
    return {name: getattr(value, name) for name in names}


# GRPOConfig fields that another flag of the recipe fills under another name
_OWNED = {
    "bf16": "the dtype that the backend chooses",
    "fp16": "the dtype that the backend chooses",
    "use_cpu": "--require_gpu or a machine without a CUDA device",
    "resume_from_checkpoint": "--resume",
    "vllm_gpu_memory_utilization": "--gpu_memory_utilization",
    "vllm_enable_sleep_mode": "--standby",
    "hub_model_id": "--push_to_hub",
    "hub_private_repo": "--public",
    "reward_weights": "the weights in the recipe",
    "model_init_kwargs": "the model settings",
    "trust_remote_code": "nothing: remote code is never run",
}
