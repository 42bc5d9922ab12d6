"""Settings of a learned reward from a YAML file: its fields by name, and `name`, under which it is logged."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from toolkit.errors import RewardError, did_you_mean
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.completions import one_line

R = TypeVar("R", bound=RewardFunction)
SUFFIXES = (".yaml", ".yml")


def load_settings(kind: type[R], path: str | Path) -> R:
    """An instance of `kind` with the settings of the file; those that it leaves out have their defaults.

    Raises:
        RewardError: no such file, no YAML, an unknown key (with the nearest), a value that the setting does not take.
            No message quotes a value of the wrong kind: it may be an API key that was put in the wrong place.
    """
    import yaml

    source = f"{kind.name} {path}"
    try:
        table = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        detail = one_line(str(getattr(error, "problem", None) or getattr(error, "strerror", None) or "no text"), 100)
        raise RewardError(f"{source} cannot be read ({detail})", "a YAML file of settings") from error
    if not isinstance(table, dict):
        raise RewardError(f"{source} is no table of settings", "keys and values, such as `model: NAME`")
    hints = {"name": str} | {key: hint for key, hint in get_type_hints(kind).items() if key in _settings(kind)}
    for key, value in table.items():
        if key not in hints:
            hint = did_you_mean(str(key), hints) or f"one of {', '.join(hints)}"
            raise RewardError(f"{source} has an unknown key {one_line(str(key), 40)!r}", hint)
        if not _fits(value, hints[key]):
            raise RewardError(f"{source}: {key} is a {type(value).__name__}", _shown(hints[key]))
    try:
        given: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in table.items()}
        return kind(title=given.pop("name", ""), **given)
    except RewardError as error:
        raise RewardError(f"{source}: {error.found}", error.wanted, error.next_step) from error


def _settings(kind: type[RewardFunction]) -> set[str]:
    return {field.name for field in fields(kind)} - {"title"}


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(args) and all(map(_fits, value, args))
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return isinstance(value, dict) if isinstance(origin, type) and issubclass(origin, Mapping) else type(value) is hint


def _shown(hint: Any) -> str:
    """A type as a user reads it."""
    names = {str: "text", int: "a whole number", float: "a number", type(None): "nothing"}
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(args)}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_shown, args))
    return f"a list of {len(args)} numbers" if origin is tuple else names.get(hint, "keys and values")
