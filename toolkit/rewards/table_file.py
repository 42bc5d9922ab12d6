"""Checks the tables of a YAML file strictly: every error is one line that names the file and the place in it."""

from __future__ import annotations

import math
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from toolkit.errors import RewardError, did_you_mean
from toolkit.files import read_yaml
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.completions import one_line

R = TypeVar("R", bound=RewardFunction)


@dataclass(frozen=True)
class Reader:
    """Checks a file's values one by one. Subclasses turn its tables into what they mean."""

    source: str
    """How errors name the file."""

    def keys(self, table: Any, where: str, known: Collection[str], needed: Collection[str] = ()) -> dict[str, Any]:
        """The table, if it has all keys that are needed and none that is unknown; `where` empty: the file itself."""
        place = where or "the file"
        self.checked(table, isinstance(table, dict), place, f"the keys {', '.join(sorted(known))}")
        for key in table:
            if key not in known:
                hint = did_you_mean(str(key), known) or f"one of {', '.join(sorted(known))}"
                self.fail(f"{place} has an unknown key {one_line(repr(key), 40)}", hint)
        for key in needed:
            if key not in table:
                self.fail(f"{place} has no {key!r}", f"the key {key!r}")
        return table

    def text(self, value: Any, where: str) -> str:
        """Text that is not blank."""
        return self.checked(value, isinstance(value, str) and bool(value.strip()), where, "text")

    def checked(self, value: Any, is_right: bool, where: str, wanted: str) -> Any:
        if not is_right:
            self.fail(f"{where} is {one_line(repr(value), 40)}", wanted)
        return value

    def fail(self, found: str, wanted: str) -> NoReturn:
        raise RewardError(f"{self.source}: {found}", wanted)


def load_settings(kind: type[R], path: str | Path) -> R:
    """An instance of `kind` with the settings of the file: its fields by name, and `name`, under which it is logged.

    Raises:
        RewardError: no such file, no YAML, an unknown key (with the nearest), a value that the setting does not take.
            No message quotes a value of the wrong kind: it may be an API key that was put in the wrong place.
    """
    source = f"{kind.name} {path}"
    table = read_yaml(Path(path).expanduser(), source, "a YAML file of settings", RewardError)
    reader = Reader(source)
    if not isinstance(table, dict):  # the reader would quote it
        reader.fail("it is no table of settings", "keys and values, such as `model: NAME`")
    declared = get_type_hints(kind)
    hints = {"name": str} | {field.name: declared[field.name] for field in fields(kind) if field.name != "title"}
    for key, value in reader.keys(table, "", hints).items():
        if not _fits(value, hints[key]):
            reader.fail(f"{key} is a {type(value).__name__}", _shown(hints[key]))
    try:
        given: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in table.items()}
        return kind(title=given.pop("name", ""), **given)
    except RewardError as error:
        raise RewardError(f"{source}: {error.found}", error.wanted, error.next_step) from error


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
