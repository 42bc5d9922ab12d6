"""Settings of a learned reward from a YAML file: its fields by name, and `name`, under which it is logged."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from toolkit.errors import RewardError
from toolkit.files import read_yaml
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.table_file import Reader

R = TypeVar("R", bound=RewardFunction)
SUFFIXES = (".yaml", ".yml")


def load_settings(kind: type[R], path: str | Path) -> R:
    """An instance of `kind` with the settings of the file; those that it leaves out have their defaults.

    Raises:
        RewardError: no such file, no YAML, an unknown key (with the nearest), a value that the setting does not take.
            No message quotes a value of the wrong kind: it may be an API key that was put in the wrong place.
    """
    source = f"{kind.name} {path}"
    table = read_yaml(Path(path).expanduser(), source, "a YAML file of settings", RewardError)
    reader = Reader(source)
    if not isinstance(table, dict):  # the reader would quote it
        reader.fail("it is no table of settings", "keys and values, such as `model: NAME`")
    hints = {"name": str} | {key: hint for key, hint in get_type_hints(kind).items() if key in _settings(kind)}
    for key, value in reader.keys(table, "", hints).items():
        if not _fits(value, hints[key]):
            reader.fail(f"{key} is a {type(value).__name__}", _shown(hints[key]))
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
