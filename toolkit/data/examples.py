"""Solved examples, and the text of a system message, as `--examples` and `--system_prompt` name them: read once.

A run keeps what the files said, not where they were, so that it goes on as it began when they change.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolkit import files
from toolkit.data import rows
from toolkit.data.schema import Messages
from toolkit.errors import DataError, SettingsError, did_you_mean
from toolkit.rewards.bench.layouts import render
from toolkit.rewards.completions import utf8
from toolkit.settings import DataSettings

KEYS = ("question", "reasoning", "answer")
_WANTED = f"{', '.join(KEYS)}; or messages as prompt and completion"
_TEXT_FILE = re.compile(r".*\.(?:txt|md|jinja)|\S+\.[a-z][a-z0-9]{0,5}", re.IGNORECASE)
_ROLES = ("user", "assistant")


@dataclass(frozen=True)
class Example:
    """A question with its worked solution, or turns that were written by a person."""

    question: str = ""
    reasoning: str = ""
    answer: str = ""
    messages: tuple[dict[str, str], ...] = ()


def turns(example: Example, layout: str) -> Messages:
    """The turns of a conversation: the question, and its answer in the layout; written ones as they are."""
    if example.messages:
        return [dict(message) for message in example.messages]
    answer = render(layout, example.reasoning, example.answer)
    return [{"role": "user", "content": example.question}, {"role": "assistant", "content": answer}]


def worked_solution(answer: object) -> str:
    """What stands before GSM8K's `#### 18`, without its calculator marks (`<<48/2=24>>`); empty where nothing does."""
    text, mark, _ = answer.rpartition("####") if isinstance(answer, str) else ("", "", "")
    return re.sub(r"<<[^<>\n]*>>", "", text).strip() if mark else ""


def read_files(settings: DataSettings) -> DataSettings:
    """The settings with the contents of the files that `system_prompt` and `examples` name; once, before a run.

    Raises:
        SettingsError, DataError: a file that is not there, cannot be read, is blank, or has a row that is no example.
    """
    return replace(
        settings,
        system_prompt=None if settings.system_prompt is None else _read_text(settings.system_prompt),
        examples=None if settings.examples is None else _read_examples(settings.examples.strip()),
    )


def _read_text(given: str) -> str:
    path = Path(given).expanduser()
    if not os.path.isfile(path):  # Path.is_file raises for a name longer than the file system takes
        if _TEXT_FILE.fullmatch(given):
            raise SettingsError(f"--system_prompt {given} does not exist", "a file that does, or the text itself")
        _refuse_half_characters(given, "--system_prompt")
        return given
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise SettingsError(f"--system_prompt {given} cannot be read ({error.strerror})", "a text file") from error
    except UnicodeDecodeError as error:
        found = f"--system_prompt {given} is not UTF-8 at byte {error.start}"
        raise SettingsError(found, "a text file", "save it as UTF-8") from error
    if not text:
        raise SettingsError(f"--system_prompt {given} is blank", "text", 'for no system message: --system_prompt ""')
    return text


def _read_examples(given: str) -> str | None:
    """A number as it is, None for none, and the rows of a file as JSON."""
    if given.isdecimal():
        return str(int(given)) if int(given) else None
    path = Path(given).expanduser()
    if not os.path.exists(path):
        found = f"--examples {given or 'nothing'} is neither a number nor a file"
        raise SettingsError(found, "how many training rows to show, or a file with question, reasoning, answer")
    if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
        listed = files.read_yaml(path, f"--examples {given}", f"a list with {_WANTED}", DataError)
        if not isinstance(listed, list) or not listed:
            raise DataError(f"--examples {given} holds no list", f"a list of mappings with {_WANTED}")
        numbered = [(f"--examples {given} row {i}", row) for i, row in enumerate(listed, start=1)]
    else:
        numbered = [(f"--examples {rows.place(path, number)}", row) for number, row in rows.read(path)]
    read = [asdict(_example(row, where)) for where, row in numbered]
    return json.dumps([{name: value for name, value in row.items() if value} for row in read], ensure_ascii=False)


def parse_examples(text: str) -> list[Example]:
    """The examples of the JSON that `read_files` puts in the place of a file."""
    try:
        listed = json.loads(text)
    except ValueError as error:
        raise SettingsError("--examples is neither a number nor JSON", "what `read_files` gives") from error
    return [_example(row, f"--examples, row {i}") for i, row in enumerate(listed, start=1)]


def _example(row: Any, where: str) -> Example:
    if not isinstance(row, Mapping):
        raise DataError(f"{where} is no mapping", _WANTED)
    if any(row.get(name) is not None for name in ("messages", "prompt", "completion")):
        return Example(messages=tuple(_messages(row, where)))
    reasoning = row.get("reasoning") or worked_solution(row.get("answer"))
    told = {"question": row.get("question"), "reasoning": reasoning, "answer": rows.bare_gold(row.get("answer"))}
    for name, value in told.items():
        if not isinstance(value, str) or not value.strip():
            hint = did_you_mean(name, [key for key in row if key not in KEYS]) or _WANTED
            raise DataError(f"{where} has no {name} in words", hint)
        _refuse_half_characters(value, where)
    question, reasoning, answer = (str(value).strip() for value in told.values())
    return Example(question, reasoning, answer)


def _messages(row: Mapping[str, Any], where: str) -> Messages:
    """User and assistant in turn, from `messages`, or from `prompt` and `completion`, which may be plain text."""
    said = [*_side(row.get("messages"), ""), *_side(row.get("prompt"), "user")]
    said += _side(row.get("completion"), "assistant")
    is_told = [isinstance(m, Mapping) and isinstance(m.get("content"), str) and m["content"].strip() for m in said]
    roles = tuple(m.get("role") for m in said) if all(is_told) else ()
    if not roles or roles != _ROLES * (len(roles) // 2):
        wanted = "messages with text, a user's and the assistant's in turn"
        next_step = "a system message is given by --system_prompt" if "system" in roles else ""
        raise DataError(f"{where} has messages of {', '.join(map(str, roles)) or 'no text'}", wanted, next_step)
    for message in said:
        _refuse_half_characters(message["content"], where)
    return [{"role": message["role"], "content": message["content"]} for message in said]


def _side(side: Any, role: str) -> list[Any]:
    return [{"role": role, "content": side}] if isinstance(side, str) else list(side or [])


def _refuse_half_characters(text: str, where: str) -> None:
    if utf8(text) != text:
        raise DataError(f"{where} has half a character in it", "text in UTF-8")
