"""From an argument list to settings: presets, `--grpo.*`, did-you-mean, and errors of one line.

YAML files and saved settings take the same road as flags: they become arguments in front of the user's own,
so one parser checks every value, and the user's flags win.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from toolkit import files
from toolkit.errors import SettingsError, did_you_mean
from toolkit.settings.grpo_flags import GRPO_PREFIX, grpo_to_args, parse_grpo, split_grpo
from toolkit.settings.spelling import PYTHON_SPELLING, blaming, flag_name, from_tyro, spelled, words_of

S = TypeVar("S")


def parse(cls: type[S], argv: Sequence[str], presets: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> S:
    """Fill the settings dataclass `cls` from `presets` (name, mapping; later wins) and then `argv`.

    `--help` shows the presets' values as defaults, since they are what a run without flags would use.

    Raises:
        SettingsError: unknown name (with the nearest known), or a value of the wrong type.
        SystemExit: code 0 after `--help`.
    """
    settings = cls()
    known = _declared_types(cls)
    for source, mapping in presets:
        settings = _fill(settings, _mapping_to_args(mapping, known, source), known, source)
    return _fill(settings, _normalise(argv, known), known)


def _fill(settings: S, args: Sequence[str], known: Mapping[str, Any], source: str = "") -> S:
    own, grpo = split_grpo(args)
    with blaming(source):
        filled, rest = _run_tyro(settings, own)
        if rest:
            raise _unknown(rest[0], known)
        if grpo and "grpo" not in known:
            raise _unknown(grpo[0], known)
        if grpo:
            merged = {**vars(filled).get("grpo", {}), **parse_grpo(grpo, known)}
            filled = replace(filled, grpo=merged)  # type: ignore[type-var] # every settings class is a dataclass
    return filled


def _declared_types(cls: type) -> dict[str, Any]:
    """Name and declared type of every flag, in declaration order, as `flatten` names them."""
    hints = get_type_hints(cls)
    types: dict[str, Any] = {}
    for f in fields(cls):
        types |= _declared_types(hints[f.name]) if is_dataclass(hints[f.name]) else {f.name: hints[f.name]}
    return types


def as_args(cls: type, mapping: Mapping[str, Any], source: str) -> list[str]:
    """The command line that says the same as a mapping of `cls`'s settings; see `parse` for what it raises."""
    return _mapping_to_args(mapping, _declared_types(cls), source)


def given_names(argv: Sequence[str]) -> set[str]:
    """The flags a user typed, by name: `{"seed", "grpo.beta"}`."""
    return {flag_name(token) for token in argv if token.startswith("--")}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a settings file: one flat mapping, with `grpo:` for GRPOConfig fields; a null value is a name not set.

    Raises:
        SettingsError: missing file, not UTF-8, broken YAML (with the line), or not a mapping.
    """
    wanted = "a YAML file of `name: value` lines"
    loaded = files.read_yaml(path, f"--config {path}", wanted, SettingsError)
    if not isinstance(loaded, dict):
        raise SettingsError(f"--config {path} holds {type(loaded).__name__}", wanted, "fix the file")
    return _without_nulls(loaded)


def _without_nulls(loaded: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in loaded.items() if value is not None}
    if isinstance(given.get("grpo"), dict):
        given["grpo"] = {name: value for name, value in given["grpo"].items() if value is not None}
    return given


def _mapping_to_args(mapping: Mapping[str, Any], known: Mapping[str, Any], source: str) -> list[str]:
    args: list[str] = []
    for name, value in mapping.items():
        if name == "grpo" and "grpo" in known:
            args += grpo_to_args({} if value is None else value, known, source)
        elif not isinstance(name, str) or name not in known:
            raise SettingsError(
                f"{source} sets {name!r}", "the name of a setting", did_you_mean(str(name), known) or "see --help"
            )
        elif value is not None:
            words = words_of(value, known[name], f"{source}: {name}")
            with blaming(source):
                # one that begins with a dash, such as a text, would be taken for a flag
                spelt = [f"--{name}={words[0]}"] if words and words[0].startswith("-") else [f"--{name}", *words]
                args += _normalise(spelt, known)
    return args


def _normalise(argv: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Spell flags with underscores, `--use_vllm true` with Python's `True`, and `--standby false` as `--no-standby`."""
    args: list[str] = []
    tokens = list(argv)
    name = ""
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("--"):
            args.append(spelled(token, known.get(name)))
            continue
        name, equals, value = flag_name(token), "=" in token, token.partition("=")[2]
        if name in ("grpo", "grpo.") and "grpo" in known:
            form = f"{GRPO_PREFIX}NAME VALUE"
            raise SettingsError(f"{token.partition('=')[0]} names no field", form, "for example --grpo.top_p 0.9")
        if known.get(name) is bool:
            if not equals and tokens and not tokens[0].startswith("--"):
                equals, value = True, tokens.pop(0)
            if equals:
                if value.lower() not in PYTHON_SPELLING:
                    raise SettingsError(f"--{name} is {value!r}", "true or false")
                args.append(f"--{name}" if value.lower() == "true" else f"--no-{name}")
                continue
        if equals:
            args.append(f"--{name}={spelled(value, known.get(name))}")
        else:
            args.append(f"--{name}" if not name.startswith("no_") else token)
    return args


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
        raise from_tyro(printed.getvalue(), "see --help") from None


def _unknown(token: str, known: Iterable[str]) -> SettingsError:
    if not token.startswith("--"):
        return SettingsError(f"unexpected argument {token!r}", "flags of the form --name value", "see --help")
    hint = did_you_mean(flag_name(token), known).replace("mean ", "mean --").replace(", ", ", --")
    return SettingsError(f"unknown flag --{flag_name(token)}", hint or "a flag of this command", "see --help")
