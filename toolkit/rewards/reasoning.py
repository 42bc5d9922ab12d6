"""Does the completion show its work: steps, words that connect them, a check at the end?

These judge the look of reasoning, not its truth. They are slopes for a model that does not reason aloud yet; weigh them
well below `correct`, and end the run without them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from toolkit.rewards import equations
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.length import band

_PARTS = (("<reasoning>", "</reasoning>"), ("<think>", "</think>"))
_ANSWER_PART = re.compile(r"<answer>.*", re.DOTALL)
_STEP_END = re.compile(r"\n|[.!?]\s|[。！？；]")
_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]{2,}|[\u3400-\u9fff]")
MIN_WORDS = 3  # fewer are a heading or a filler; a Chinese character counts as a word
_DIGIT_OR_SPACE = re.compile(r"[\s\d]+")

_CONNECTIVES = """
so since because therefore thus hence then next first second third finally if when given which means however
but also after before altogether total each remaining now
"""
CONNECTIVES = frozenset(_CONNECTIVES.split())
CONNECTIVES_ZH = (
    "因为",
    "所以",
    "因此",
    "首先",
    "其次",
    "然后",
    "接着",
    "最后",
    "由于",
    "如果",
    "那么",
    "总共",
    "一共",
)
_ENGLISH = re.compile(r"[a-z]+")
CHECKS = (
    "let me check", "let's check", "let me verify", "let's verify", "to verify", "to check", "double-check",
    "double check", "check:", "checking", "verify:", "verification", "verifying", "plug back", "plugging back",
    "substitute back", "substituting back", "working backwards", "验证", "验算", "检查", "核对", "代入",
)  # fmt: skip
CHECK_WINDOW = 240  # characters after such words in which the check is looked for


def reasoning_of(text: str) -> str:
    """What stands inside `<reasoning>` or `<think>`, to the end where it is not closed; else all but the answer."""
    for opening, closing in _PARTS:
        start = text.find(opening)
        if start >= 0:
            end = text.find(closing, start)
            return text[start + len(opening) : end if end >= 0 else len(text)]
    return _ANSWER_PART.sub("", text)


def steps_of(text: str) -> set[str]:
    """The different steps of the reasoning: lines or sentences of three words, or with an equation.

    Sentences that differ in figures and spaces only are one step, so that it cannot be repeated for pay.
    """
    steps = set()
    for piece in _STEP_END.split(reasoning_of(text).casefold()):
        if "=" in piece:
            steps.add(piece.strip())
        elif len(_WORD.findall(piece, 0, 200)) >= MIN_WORDS:
            steps.add(_DIGIT_OR_SPACE.sub(" ", piece).strip())
    return steps


@dataclass(frozen=True)
class Steps(RewardFunction):
    """1 for `low` to `high` different steps of reasoning; fewer earn their share, more fall to 0 at twice `high`.

    A step is a line or a sentence of three words or with an equation; steps that differ in figures only are one.
    """

    name = "steps"
    purpose = "A model that answers at once learns to write its steps, and not too many."
    weakness = "Sentences that say nothing count; only copies of one sentence do not."
    known_exploits = ("padding", "stock_phrases")

    low: int = 2
    high: int = 12

    def __post_init__(self) -> None:
        self._require(1 <= self.low <= self.high, f"the band is {self.low} to {self.high}", "1 <= low <= high")

    def judge(self, text: str, **_: Any) -> float | None:
        return band(len(steps_of(text)), self.low, self.high)

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return f"{len(steps_of(text))} different steps, the band is {self.low} to {self.high}"


@dataclass(frozen=True)
class Connectives(RewardFunction):
    """The number of different connecting words (`so`, `because`, `then`; 因为, 所以) over `wanted`, at most 1.

    Only what stands inside `<reasoning>` or `<think>` counts, or all but the answer where there is neither.
    """

    name = "connectives"
    purpose = "Steps that follow from each other read so: because, then, therefore."
    weakness = "A list of connectives, or talk that has some; each counts once, so little is enough."
    known_exploits = ("padding", "stock_phrases")

    wanted: int = 3

    def __post_init__(self) -> None:
        self._require(self.wanted >= 1, f"wanted is {self.wanted}", "at least 1")

    def judge(self, text: str, **_: Any) -> float | None:
        return min(1.0, len(self._found(text)) / self.wanted)

    def _found(self, text: str) -> set[str]:
        reasoning = reasoning_of(text)
        found = CONNECTIVES.intersection(_ENGLISH.findall(reasoning.lower()))
        return {*found, *(() if reasoning.isascii() else (word for word in CONNECTIVES_ZH if word in reasoning))}

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        found = sorted(self._found(text))
        return f"{len(found)} of {self.wanted} connectives" + (f": {', '.join(found[:6])}" if found else "")


@dataclass(frozen=True)
class Verification(RewardFunction):
    """1 when the completion announces a check and an equation that holds follows it closely, 0.5 for the words alone.

    The words are those of `CHECKS`; the equation must stand in the 240 characters after them.
    """

    name = "verification"
    purpose = "Self-verification: the model checks its result before it gives it."
    weakness = "An idle check (`Let me check: 1+1=2`) earns it; what it is about is not judged."
    known_exploits = ("true_equations", "stock_phrases")

    def judge(self, text: str, **_: Any) -> float | None:
        found = self._checks(text)
        if any(equation.holds for check in found for equation in equations.find(check)):
            return 1.0
        return 0.5 if found else 0.0

    def _checks(self, text: str) -> list[str]:
        """What follows the first and the last announcement of each kind."""
        lower = text.lower()
        if len(lower) != len(text):  # a few letters grow when lowered, and would shift the places
            text = lower
        said = [words for words in CHECKS if words in lower]
        starts = {place + len(words) for words in said for place in (lower.find(words), lower.rfind(words))}
        return [text[start : start + CHECK_WINDOW] for start in sorted(starts)]

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        if not score:
            return "no check is announced"
        return "a check with an equation that holds" if score == 1 else "a check is announced, no equation in it holds"


steps = Steps()
connectives = Connectives()
verification = Verification()
