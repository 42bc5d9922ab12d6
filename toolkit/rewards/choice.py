"""Is the right choice named, by its letter or by its text?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from toolkit.rewards import answers
from toolkit.rewards.answers import MarkedLayout
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.completions import one_line
from toolkit.rewards.numerals import PLAIN
from toolkit.rewards.prose import strip_tags

MAX_CHARS = 2_000  # of an answer; a longer one names no choice
_LEAD_IN = re.compile(
    r"(?:(?:the|my)\s+)?(?:(?:final|correct|right|best)\s+)?(?:answer|option|choice)\b\s*(?:is\b|:)?\s*", re.IGNORECASE
)
_EMPHASIS = re.compile(r"\*\*|__")
_LETTER = re.compile(r"\(?([A-Z])\)?[.:)]?|\(?([A-Z])(?:\)[.:]?|[.:])\s*(.+)", re.IGNORECASE | re.DOTALL)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{(.*)\}", re.DOTALL)


@dataclass(frozen=True)
class CorrectChoice(RewardFunction):
    """1 when the answer names the gold choice, else 0.

    `answer` is the choice's letter; `choices` are the texts in their order. `B`, `(b)`, `B. Paris`, `option B` are
    read, and with `choices` also `Paris`; a letter beside another choice's text, or two letters, names none. Texts are
    compared without case and a full stop at the end. None when `answer` is no choice's letter or text.
    """

    name = "correct_choice"
    columns = ("answer",)
    optional_columns = ("choices",)
    purpose = "Multiple choice: the answer names the right choice by its letter or its text."
    weakness = "Guessing pays one time in four where there are four choices."

    layouts: tuple[MarkedLayout, ...] = ("answer_tag", "boxed", "hashes")
    """How the answer may be marked, looked for in this order: see `answers.MarkedLayout`."""

    @property
    def best_layouts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.layouts

    def judge(self, text: str, *, answer: object, choices: Sequence[str] | None = None, **_: Any) -> float | None:
        gold = letter_of(str(answer), choices)
        return None if gold is None else float(letter_of(answers.find_answer(text, self.layouts), choices) == gold)

    def reason(
        self, text: str, score: float | None, *, answer: object, choices: Sequence[str] | None = None, **_: Any
    ) -> str:
        if score is None:
            return f"the gold answer {one_line(str(answer), 60)!r} names no choice"
        found = answers.find_answer(text, self.layouts)
        if found is None:
            return f"no answer in {' or '.join(self.layouts)}"
        letter, gold = letter_of(found, choices), letter_of(str(answer), choices)
        named = f"names {letter}" if letter else "names no choice"
        return f"answer {one_line(found, 60)!r} {named}, the gold answer is {gold}"


def letter_of(answer: str | None, choices: Sequence[str] | None) -> str | None:
    """The letter of the one choice that an answer names; without `choices`, of any letter."""
    if answer is None or len(answer) > MAX_CHARS:
        return None
    bare = _EMPHASIS.sub("", strip_tags(answer).translate(PLAIN)).strip(" \t\r\n*`$'\"")
    if wrapped := _WRAPPED.fullmatch(bare):
        bare = wrapped[1].strip()
    without_lead_in = _LEAD_IN.sub("", bare, count=1).strip(" *`'\"") if _LEAD_IN.match(bare) else bare
    same = {
        i for i, text in enumerate(choices or ()) if normalized(str(text)) in map(normalized, (bare, without_lead_in))
    }
    found = _LETTER.fullmatch(bare) or _LETTER.fullmatch(without_lead_in)
    if len(same) == 1 and not (found and found[1]):
        return ascii_uppercase[same.pop()]
    if found is None:
        return None
    letter = (found[1] or found[2]).upper()
    if choices is None:
        return letter
    at = ascii_uppercase.index(letter)
    is_so = at < len(choices) and (found[3] is None or normalized(found[3]) == normalized(str(choices[at])))
    return letter if is_so else None


def normalized(text: str) -> str:
    """Without case, a full stop at the end, and more than one space: what two spellings of one text have in common."""
    return " ".join(text.split()).rstrip(".").casefold()


correct_choice = CorrectChoice()
