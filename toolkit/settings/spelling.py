"""How values are spelled on a command line, and how one that does not fit is refused in one line."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from toolkit.errors import SettingsError, did_you_mean

PYTHON_SPELLING = {"true": "True", "false": "False"}  # YAML's words in tyro's spelling


def flag_name(token: str) -> str:
    """`--num-generations=4` is `num_generations`."""
    return token.removeprefix("--").partition("=")[0].replace("-", "_")


@contextlib.contextmanager
def blaming(source: str) -> Iterator[None]:
    """Put the file's name, if there is one, in front of a SettingsError."""
    try:
        yield
    except SettingsError as error:
        if source:
            raise SettingsError(f"{source}: {error.found}", error.wanted, error.next_step) from None
        raise


def kinds_of(declared: Any) -> set[Any]:
    """The plain classes of a declared type: `list[str] | None` gives `{list, NoneType}`."""
    origin = get_origin(declared)
    if origin in (list, tuple, dict):
        return {origin}
    if origin is Literal:
        return {type(choice) for choice in get_args(declared)}
    return {kind for part in get_args(declared) for kind in kinds_of(part)} if origin else {declared}


def words_of(value: Any, declared: Any, where: str) -> list[str]:
    """A YAML or JSON value as what a user would type; `where` names the file and the key in errors.

    Raises:
        SettingsError: a list or a mapping where the declared type has none.
    """
    kinds = kinds_of(declared)
    if dict in kinds and isinstance(value, dict):
        try:
            return [json.dumps(value)]
        except (TypeError, ValueError, RecursionError) as error:
            raise SettingsError(f"{where} cannot be said in JSON ({error})", "numbers, words and lists") from error
    if isinstance(value, (list, tuple)) and kinds & {list, tuple}:
        odd = [v for v in value if v is None or isinstance(v, (list, tuple, dict))]
        if odd:
            raise SettingsError(
                f"{where} holds {shape_of(odd[0])} in a list", "a list of single values", "fix the file"
            )
        return [str(v) for v in value]
    if isinstance(value, (list, tuple, dict)):
        wanted = "a mapping" if dict in kinds else "a list" if kinds & {list, tuple} else "one value"
        raise SettingsError(f"{where} is {shape_of(value)}", wanted, "fix the file")
    return [str(value)]


def shape_of(value: Any) -> str:
    """What a value is, without the value: it may be a secret or a page long."""
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else "nothing" if value is None else "one value"


def spelled(word: str, declared: Any) -> str:
    """`true` as `True` where the type has a bool, so that a folder or a repository may be called `true`."""
    return PYTHON_SPELLING.get(word.lower(), word) if bool in kinds_of(declared) else word


# How tyro (Python, in truth) words a value of the wrong type, and how a person would
_WORDINGS = (
    (r"Error parsing (--\S+): invalid literal for int\(\) with base 10: (.+)", "a whole number"),
    (r"Error parsing (--\S+): could not convert string to float: (.+)", "a number"),
    (
        r"Error parsing (--\S+): no type matching \{None\}\|INT could be instantiated from \[(.+?)\]\..*",
        "a whole number",
    ),
    (r"Error parsing (--\S+): no type matching \{None\}\|FLOAT could be instantiated from \[(.+?)\]\..*", "a number"),
    (r"Missing value for argument '(--\S+)'\.() Expected 1 values?\.?", "one"),
)


def from_tyro(box: str, next_step: str) -> SettingsError:
    """The error that tyro drew a box around, as ours."""
    line = _one_line(box)
    for pattern, wanted in _WORDINGS:
        if match := re.fullmatch(pattern, line):
            found = f"{match[1]} is {match[2]}" if match[2] else f"{match[1]} has no value"
            return SettingsError(found, wanted, next_step)
    if match := re.fullmatch(r"invalid choice (.+) for argument '(--\S+)'\. Expected one of \((.+)\)\.?", line):
        choices = [choice.strip(" '") for choice in match[3].split(",")]
        near = did_you_mean(match[1].strip("'"), choices)
        return SettingsError(f"{match[2]} is {match[1]}", near or f"one of {', '.join(choices)}", next_step)
    return SettingsError(line, next_step=next_step)


def _one_line(box: str) -> str:
    """The first paragraph of tyro's error box, without the box."""
    lines = [line.strip(" │╭╮╰╯") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    body = [line for line in lines[1:] if line]
    for i, line in enumerate(body):
        if set(line) <= {"─"}:
            body = body[:i]
            break
    return " ".join(body).replace("`", "'")
