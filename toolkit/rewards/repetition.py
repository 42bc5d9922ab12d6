"""Does the completion repeat itself, or is it no language at all?"""

from __future__ import annotations

import re
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from toolkit.rewards.base import RewardFunction

# A word, one character of a script without spaces, or one sign
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")


def tokens_of(text: str, completion_ids: Sequence[int] | None) -> Sequence[Hashable]:
    """The model's tokens, or words and single Chinese characters where there are none."""
    return completion_ids if completion_ids is not None else _WORDS.findall(text.casefold())


def distinct(tokens: Sequence[Hashable], n: int) -> float | None:
    """Share of n-grams that are different from each other, 0 to 1; None for fewer than `n` tokens."""
    n_all = len(tokens) - n + 1
    if n_all < 1:
        return None
    return len(set(tokens if n == 1 else zip(*(tokens[i:] for i in range(n)), strict=False))) / n_all


@dataclass(frozen=True)
class _NGrams(RewardFunction):
    optional_columns = ("completion_ids",)

    n: int = 4

    def __post_init__(self) -> None:
        self._require(self.n >= 1, f"n is {self.n}", "at least 1")


@dataclass(frozen=True)
class Repetition(_NGrams):
    """0 when no n-gram of tokens occurs twice, falling to -1 as all are the same: `distinct - 1`.

    0 for fewer than `n` tokens. The n-gram penalty of "Demystifying Long Chain-of-Thought Reasoning"
    (arXiv:2502.03373), which keeps the cosine of the length from being earned by padding.
    """

    name = "repetition"
    purpose = "Against loops: the same run of tokens again and again."
    weakness = "Repetition with one word changed each time; an empty completion has none."
    range = (-1.0, 0.0)

    def judge(self, text: str, *, completion_ids: Sequence[int] | None = None, **_: Any) -> float | None:
        share = distinct(tokens_of(text, completion_ids), self.n)
        return 0.0 if share is None else share - 1

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return f"{-(score or 0):.0%} of its {self.n}-grams of tokens are repetitions"


@dataclass(frozen=True)
class Distinct(_NGrams):
    """Share of n-grams that differ from each other, 0 to 1; 0 for fewer than `n` tokens.

    distinct-1 and distinct-2 of Li et al. 2016 (arXiv:1510.03055).
    """

    name = "distinct"
    purpose = "Varied wording; compare completions of like length only."
    weakness = "Short completions, since the share falls with length; add `too_short`."
    known_exploits = ("empty",)

    n: int = 2

    def judge(self, text: str, *, completion_ids: Sequence[int] | None = None, **_: Any) -> float | None:
        return distinct(tokens_of(text, completion_ids), self.n) or 0.0

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return f"{score:.0%} of its {self.n}-grams of tokens differ from each other"


@dataclass(frozen=True)
class Compression(RewardFunction):
    """0 while zlib shrinks the text at most `free` times, falling linearly to -1 at `worst` times.

    GSM8K's solutions shrink 1.2 to 3.2 times (median 1.7), a loop 16 times and more. Texts under 200 bytes score 0:
    zlib's own header hides what they are. The test of Whisper's decoder (arXiv:2212.04356), whose limit is 2.4.
    """

    name = "compression"
    purpose = "Against long-range repetition that n-grams of tokens miss: whole paragraphs, templates."
    weakness = "Random characters shrink least of all, so pair it with `printable` or a judge."
    range = (-1.0, 0.0)

    free: float = 3.0
    worst: float = 10.0

    def __post_init__(self) -> None:
        self._require(1 <= self.free < self.worst, f"free {self.free}, worst {self.worst}", "1 <= free < worst")

    def judge(self, text: str, **_: Any) -> float | None:
        return max(-1.0, min(0.0, (self.free - compression_ratio(text)) / (self.worst - self.free)))

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return f"zlib shrinks it {compression_ratio(text):.1f} times, free up to {self.free:g}"


def compression_ratio(text: str) -> float:
    """How many times zlib shrinks the text; 1 for texts under 200 bytes."""
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw)) if len(raw) >= 200 else 1.0


@dataclass(frozen=True)
class Printable(RewardFunction):
    """1 when every character can be printed, falling linearly to 0 at the share `worst` of those that cannot.

    Control characters but tab and line end, unassigned and private ones, lone surrogates, and U+FFFD, which a
    decoder writes for bytes that are no text.
    """

    name = "printable"
    purpose = "Against byte salad, which broken sampling and too high a temperature give."
    weakness = "Printable nonsense; it judges characters, not words."

    worst: float = 0.05

    def __post_init__(self) -> None:
        self._require(0 < self.worst <= 1, f"worst is {self.worst}", "a share, above 0 and at most 1")

    def judge(self, text: str, **_: Any) -> float | None:
        return max(0.0, 1.0 - nonprintable_frac(text) / self.worst)

    def reason(self, text: str, score: float | None, **_: Any) -> str:
        return f"{nonprintable_frac(text):.1%} of its characters cannot be printed, 0 from {self.worst:.0%}"


_ASCII_TEXT = re.compile(r"[\t\n\r -~]*")


def nonprintable_frac(text: str) -> float:
    """Share of characters that no reader sees, 0 to 1; 0 for an empty text."""
    if not text or _ASCII_TEXT.fullmatch(text):
        return 0.0
    n_bad = sum(1 for char in text if char == "\ufffd" or (category(char)[0] == "C" and char not in "\t\n\r"))
    return n_bad / len(text)


repetition = Repetition()
distinct_1 = Distinct(n=1, title="distinct_1")
distinct_2 = Distinct(n=2, title="distinct_2")
compression = Compression()
printable = Printable()
