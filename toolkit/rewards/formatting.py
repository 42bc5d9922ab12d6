"""Is the completion in the format that the prompt asked for?

R1 here is `<reasoning>...</reasoning><answer>...</answer>`, which the recipes' prompt asks for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from toolkit.rewards import answers
from toolkit.rewards.answers import MarkedLayout
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.completions import one_line

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
_STRICT = re.compile(r"<reasoning>\n(.*?)\n</reasoning>\n<answer>\n(.*?)\n</answer>\n?", re.DOTALL)
_SOFT = re.compile(r"\s*<reasoning>(.*?)</reasoning>\s*<answer>(.*?)</answer>\s*", re.DOTALL)
_THINK_TAGS = ("<think>", "</think>")
_THINK = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)
_LAST_LINE = re.compile(r"^####(?!#)([^\n]*+)\s*+\Z", re.MULTILINE)
# What may still follow an answer that ends the completion: closing marks and special tokens, not words
_CLOSING = re.compile(r"(?:\s|[.。*$)\]}]|\\\)|\\\]|</?[A-Za-z_]{1,32}>|<\|[A-Za-z_]{1,32}\|>)*")


def _wrong_tags(text: str) -> str:
    """Which of the four tags do not occur exactly once."""
    return ", ".join(f"{tag} {text.count(tag)} times" for tag in TAGS if text.count(tag) != 1)


def _match(pattern: re.Pattern[str], text: str, tags: tuple[str, ...] = TAGS) -> bool:
    """Whether the text has each tag once, and the pattern's form with no part blank."""
    found = pattern.fullmatch(text) if all(text.count(tag) == 1 for tag in tags) else None
    return found is not None and all(part.strip() for part in found.groups())


@dataclass(frozen=True)
class Format(RewardFunction):
    """1 when the whole completion is the R1 format to the letter: each tag once, on a line of its own.

    Nothing before, nothing after (one newline is allowed), neither part blank.
    """

    name = "format"
    purpose = "Makes the answer findable: the whole completion is the R1 format to the letter."
    weakness = "Empty talk inside `<reasoning>`; it judges no content, so weigh it below `correct`."
    best_layouts = ("answer_tag",)

    _form = _STRICT
    _right = "each tag once, on a line of its own, with nothing around"
    _wrong = "tags out of order, not on lines of their own, blank inside, or text around them"

    def judge(self, text: str, **_: Any) -> float | None:
        return float(_match(self._form, text))

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return self._right if score else _wrong_tags(text) or self._wrong


@dataclass(frozen=True)
class FormatSoft(Format):
    """1 for the same two parts in the same order with any white space around the tags."""

    name = "format_soft"
    purpose = "The R1 format with any white space, for early in a run, when `format` is never earned."
    weakness = "Empty talk inside `<reasoning>`, as with `format`."

    _form = _SOFT
    _right = "each tag once, in order, with nothing but white space around"
    _wrong = "tags out of order, blank inside, or text around them"


@dataclass(frozen=True)
class TagCount(RewardFunction):
    """0.25 for each of the four R1 tags that occurs exactly once."""

    name = "tag_count"
    purpose = "A slope towards the format for a model that writes some tags."
    weakness = "Tags in any order around nothing; never use it without `correct`."
    best_layouts = ("answer_tag",)

    def judge(self, text: str, **_: Any) -> float | None:
        return sum(0.25 for tag in TAGS if text.count(tag) == 1)

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return _wrong_tags(text) or "each tag once"


@dataclass(frozen=True)
class FormatThink(RewardFunction):
    """1 for `<think>...</think>` and then an answer: each tag once, the first at the start, neither part blank.

    With `opened_by_prompt` the chat template has written `<think>` already, and the completion must not repeat it.
    """

    name = "format_think"
    purpose = "The format of R1 and Qwen3: thoughts inside think tags, then the answer."
    weakness = "Thoughts of one word, or thinking on after the tag; it judges no content."

    opened_by_prompt: bool = False

    @property
    def best_layouts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return () if self.opened_by_prompt else ("think", "think_answer")

    def judge(self, text: str, **_: Any) -> float | None:
        return float(_match(_THINK, f"<think>{text}" if self.opened_by_prompt else text, _THINK_TAGS))

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        if score:
            return "thoughts inside think tags, then an answer"
        counts = ", ".join(f"{tag} {text.count(tag)} times" for tag in _THINK_TAGS)
        return f"{counts}; wanted each once, thoughts between them, and an answer after"


@dataclass(frozen=True)
class FormatHashes(RewardFunction):
    """1 when the last line, and no other, is `#### ` and one number, as GSM8K's solutions end."""

    name = "format_hashes"
    purpose = "The format of GSM8K's own solutions: a last line `#### 18`."
    weakness = "The line alone, with no solution above it and any number in it."
    best_layouts = ("hashes",)

    def judge(self, text: str, **_: Any) -> float | None:
        line = _LAST_LINE.search(text) if text.count("####") == 1 else None
        return float(line is not None and answers.read(line[1]) is not None)

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        if score:
            return "ends in a line `####` with one number"
        return f"`####` {text.count('####')} times; wanted once, at the start of the last line, with one number"


@dataclass(frozen=True)
class _InLayout(RewardFunction):
    layout: MarkedLayout = "answer_tag"

    @property
    def best_layouts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.layout,)


@dataclass(frozen=True)
class OneAnswer(_InLayout):
    """1 when exactly one answer is given in the layout: one `<answer>` pair, one `####` line, or one `\\boxed{}`.

    Opening and closing tags are counted apart, so an answer that is opened twice or never closed is not one.
    """

    name = "one_answer"
    purpose = "Against hedging: an answer is given once, and not a second time to be safe."
    weakness = "Several candidates inside the one answer; `correct` refuses those."

    def judge(self, text: str, **_: Any) -> float | None:
        found = answers.find_answer(text, (self.layout,)) if answers.count(text, self.layout) == 1 else None
        return float(found is not None and bool(found.strip()))

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return f"{answers.count(text, self.layout)} answers in {self.layout}, wanted 1 that is not blank"


@dataclass(frozen=True)
class NothingAfter(_InLayout):
    """1 when the completion ends with its answer, less `per_character` for each character after it, at least 0.

    White space, a closing full stop, closing formula marks and tags do not count. 0 where there is no answer.
    """

    name = "nothing_after"
    purpose = "Against rambling on after the answer until the length limit."
    weakness = "A bare answer with nothing before it earns it, so pair it with a reward for reasoning."

    per_character: float = 0.01

    def judge(self, text: str, **_: Any) -> float | None:
        rest = self._rest(text)
        return 0.0 if rest is None else max(0.0, 1.0 - self.per_character * len(rest))

    def _rest(self, text: str) -> str | None:
        """What follows the answer and does not belong to it; None where there is no answer."""
        span = answers.span(text, self.layout)
        if span is None:
            return None
        found = _CLOSING.match(text, span[1])
        return text[found.end() if found else span[1] :].rstrip()

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        rest = self._rest(text)
        if rest is None:
            return f"no answer in {self.layout}"
        return f"{len(rest)} characters after the answer" + (f": {one_line(rest, 60)!r}" if rest else "")


format = Format()
format_soft = FormatSoft()
tag_count = TagCount()
format_think = FormatThink()
format_hashes = FormatHashes()
one_answer = OneAnswer()
nothing_after = NothingAfter()
