"""Multiple choice: the choices of a row, rendered below its question, and its gold answer as a letter.

Datasets spell the gold answer as a letter or another label, as the text of the choice, or as its index from 0 or from
1. Which of them it is, is decided once for a table: by what fits most of its first rows, in that order.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from toolkit.data.columns import CHOICES, named
from toolkit.data.schema import Row
from toolkit.rewards.choice import normalized

_LETTERED = re.compile(r"(?:(?:option|choice|ending|op)[ _]?([a-j]|\d)|([A-J]))", re.IGNORECASE)
_MARK = re.compile(r"\s*\(?([A-Ja-j])[).:]\s*")


@dataclass(frozen=True)
class Options:
    """The choices of one row; `labels` are the dataset's own, letters where it has none."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]


def find(columns: Sequence[str], head: Sequence[Row]) -> Callable[[Row], Options | None] | None:
    """What reads the choices of a row: from one column, or from one for each choice (`A`, `option_b`, `choice1`)."""
    for column in named(CHOICES, columns, head):
        if any(options_in(row.get(column)) for row in head):
            return lambda row: options_in(row.get(column))
    lettered = {(found[1] or found[2]).upper(): name for name in columns if (found := _LETTERED.fullmatch(name))}
    labels = sorted(lettered)
    if len(labels) < 2 or (labels[0] not in "A01") or ord(labels[-1]) - ord(labels[0]) != len(labels) - 1:
        return None
    return lambda row: _options(labels, [row.get(lettered[label]) for label in labels])


def options_in(value: Any) -> Options | None:
    """Read a list of texts, `{"A": "..."}`, ARC's `{"text": [...], "label": [...]}`, `[{"label":, "text":}]`, or one of
    these as text; None for anything else."""
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict) and isinstance(texts := value.get("text"), list):
        labels = value.get("label")
        return _options(labels if isinstance(labels, list) else ascii_uppercase, texts)
    if isinstance(value, dict):
        kept = {label: text for label, text in value.items() if text is not None}  # Parquet fills up with None
        return _options(list(kept), list(kept.values()))
    if not isinstance(value, list):
        return None
    if all(isinstance(item, dict) and "text" in item for item in value):
        labels = [
            item.get("label", item.get("key", letter)) for item, letter in zip(value, ascii_uppercase, strict=False)
        ]
        return _options(labels, [item["text"] for item in value])
    marks = [_MARK.match(item) if isinstance(item, str) else None for item in value]
    if all(mark and mark[1].upper() == letter for mark, letter in zip(marks, ascii_uppercase, strict=False)):
        value = [item[mark.end() :] for item, mark in zip(value, marks, strict=True) if mark]  # AQuA: `A)21`
    return _options(ascii_uppercase, value)


def _options(labels: Iterable[Any], texts: Sequence[Any]) -> Options | None:
    """None where there are fewer than two, more than letters, or one is neither text nor a number."""
    if not 2 <= len(texts) <= len(ascii_uppercase) or not all(isinstance(t, (str, int, float)) for t in texts):
        return None
    named_by = [str(label) for label, _ in zip(labels, texts, strict=False)]
    return Options(tuple(named_by), tuple(str(text).strip() for text in texts)) if len(named_by) == len(texts) else None


def _parsed(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def rendered(question: str, options: Options) -> str:
    """The question with `A. ...` below it, unless the choices stand in it already."""
    pairs = list(zip(ascii_uppercase, options.texts, strict=False))
    if all(re.search(rf"\(?{letter}[).:]\)?\s*{re.escape(text)}", question) for letter, text in pairs):
        return question
    return question + "\n\n" + "\n".join(f"{letter}. {text}" for letter, text in pairs)


def _by_label(gold: str, options: Options) -> int | None:
    bare = gold.strip("().: ").casefold()
    return next((i for i, label in enumerate(options.labels) if label.casefold() == bare), None)


def _by_text(gold: str, options: Options) -> int | None:
    same = [i for i, text in enumerate(options.texts) if normalized(text) == normalized(gold)]
    return same[0] if len(same) == 1 else None


def _by_index(gold: str, options: Options, first: int) -> int | None:
    index = int(gold) - first if gold.isdecimal() else -1
    return index if 0 <= index < len(options.texts) else None


READINGS: dict[str, Callable[[str, Options], int | None]] = {
    "a label": _by_label,
    "the text of a choice": _by_text,
    "an index from 0": lambda gold, options: _by_index(gold, options, 0),
    "an index from 1": lambda gold, options: _by_index(gold, options, 1),
}


def reading(golds: Sequence[tuple[str, Options]]) -> str:
    """The name of the reading that fits most of these rows; empty where none fits more than half."""
    fits = {name: sum(read(*pair) is not None for pair in golds) for name, read in READINGS.items()}
    best = max(READINGS, key=lambda name: fits[name])  # the first of equals
    return best if 2 * fits[best] > len(golds) else ""
