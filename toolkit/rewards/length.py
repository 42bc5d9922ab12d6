"""How long is the completion? In tokens, from TRL's `completion_ids`.

Without them (texts scored from a file) a token is taken as four bytes of UTF-8, which is about right for English
and for Chinese under Qwen's tokenizer; a completion that is truncated at the limit is then not seen exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from toolkit.rewards.base import RewardFunction
from toolkit.rewards.completions import Completion, text_of
from toolkit.rewards.correctness import Correct, correct

BYTES_PER_TOKEN = 4


def count_tokens(text: str, completion_ids: Sequence[int] | None) -> int:
    """The length in tokens, or its estimate from the bytes of the text."""
    if completion_ids is not None:
        return len(completion_ids)
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def band(n: float, low: float, high: float) -> float:
    """1 from `low` to `high`; below it falls linearly to 0 at none, above it to 0 at twice `high`."""
    return n / low if n < low else max(0.0, min(1.0, 2 - n / high))


def _shown(text: str, row: Mapping[str, Any]) -> str:
    """The length as an explanation shows it."""
    ids = row.get("completion_ids")
    return f"{count_tokens(text, ids)} {'tokens' if ids is not None else 'tokens (estimated from bytes)'}"


@dataclass(frozen=True)
class _ByLength(RewardFunction):
    optional_columns = ("completion_ids",)

    def of_length(self, n: int) -> float:
        """The score of a completion of `n` tokens."""
        raise NotImplementedError

    def judge(self, text: str, *, completion_ids: Sequence[int] | None = None, **_: Any) -> float | None:
        return self.of_length(count_tokens(text, completion_ids))


@dataclass(frozen=True)
class LengthBand(_ByLength):
    """1 from `low` to `high` tokens; below it falls linearly to 0 at none, above it to 0 at twice `high`."""

    name = "length_band"
    purpose = "Keeps completions within a length that is known to be good for the task."
    weakness = "Padding up to `low`; it judges no content, so weigh it below `correct`."
    known_exploits = ("padding",)

    low: int = 50
    high: int = 400

    def __post_init__(self) -> None:
        is_band = 0 <= self.low <= self.high and self.high > 0
        self._require(is_band, f"the band is {self.low} to {self.high}", "0 <= low <= high")

    def of_length(self, n: int) -> float:
        return band(n, self.low, self.high)

    def reason(self, text: str, score: float | None, **row: Any) -> str:
        return f"{_shown(text, row)}, the band is {self.low} to {self.high}"


@dataclass(frozen=True)
class TooShort(_ByLength):
    """0 from `low` tokens on; below it falls linearly to -1 at none."""

    name = "too_short"
    purpose = "Against answers without reasoning, which a length penalty invites."
    weakness = "Padding up to `low`."
    known_exploits = ("padding",)
    range = (-1.0, 0.0)

    low: int = 50

    def __post_init__(self) -> None:
        self._require(self.low > 0, f"low is {self.low}", "more than 0")

    def of_length(self, n: int) -> float:
        return min(0.0, n / self.low - 1)

    def reason(self, text: str, score: float | None, **row: Any) -> str:
        return f"{_shown(text, row)}, wanted at least {self.low}"


@dataclass(frozen=True)
class Overlong(_ByLength):
    """0 up to `max_tokens - cache_tokens`, then falling linearly to -1 at `max_tokens`, and -1 beyond.

    Equation 13 of DAPO (arXiv:2503.14476), "soft overlong punishment"; there 16,384 tokens + 4,096 of cache. Set
    `max_tokens` to the run's `max_completion_length`.
    """

    name = "overlong"
    purpose = "Makes the length limit felt before it truncates, so that a truncated answer is not noise."
    weakness = "None by length alone, but too wide a cache pays for short answers without reasoning."
    range = (-1.0, 0.0)

    max_tokens: int = 512
    cache_tokens: int = 128

    def __post_init__(self) -> None:
        self._require(self.max_tokens > 0, f"max_tokens is {self.max_tokens}", "more than 0")
        self._require(self.cache_tokens > 0, f"cache_tokens is {self.cache_tokens}", "more than 0")
        is_inside = self.cache_tokens <= self.max_tokens
        self._require(is_inside, f"cache_tokens is {self.cache_tokens}", f"at most max_tokens, {self.max_tokens}")

    def of_length(self, n: int) -> float:
        return max(-1.0, min(0.0, (self.max_tokens - self.cache_tokens - n) / self.cache_tokens))

    def reason(self, text: str, score: float | None, **row: Any) -> str:
        free = self.max_tokens - self.cache_tokens
        return f"{_shown(text, row)}, free up to {free}, -1 from {self.max_tokens}"


@dataclass(frozen=True)
class CosineLength(RewardFunction):
    """Right answers earn more when short, wrong ones lose less when long, along half a cosine of the length.

    From `right[0]` at no tokens to `right[1]` at `max_tokens`, and from `wrong[0]` to `wrong[1]`; beyond
    `max_tokens` it stays there (a cosine would climb again and pay for length). None when the gold answer cannot be
    read. "Demystifying Long Chain-of-Thought Reasoning", arXiv:2502.03373, appendix C.1; values as in TRL.
    """

    name = "cosine_length"
    columns = ("answer",)
    optional_columns = ("completion_ids",)
    purpose = "Short solutions where the model can solve, room to think where it cannot."
    weakness = "A wrong answer is worth padding: repetition raises it, so add `repetition`."
    known_exploits = ("padding",)

    max_tokens: int = 512
    right: tuple[float, float] = (1.0, 0.5)
    wrong: tuple[float, float] = (-1.0, -0.5)
    correct: Correct = correct
    """How the answer is found and judged."""

    def __post_init__(self) -> None:
        self._require(self.max_tokens > 0, f"max_tokens is {self.max_tokens}", "more than 0")

    @property
    def range(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        ends = (*self.right, *self.wrong)
        return min(ends), max(ends)

    def judge(
        self, text: str, *, answer: object, completion_ids: Sequence[int] | None = None, **_: Any
    ) -> float | None:
        verdict = self.correct.judge(text, answer=answer)
        if verdict is None:
            return None
        short, long = self.right if verdict == self.correct.right else self.wrong
        progress = min(1.0, count_tokens(text, completion_ids) / self.max_tokens)
        return long + 0.5 * (short - long) * (1 + math.cos(math.pi * progress))

    def reason(self, text: str, score: float | None, *, answer: object, **row: Any) -> str:
        return f"{self.correct.explain(text, answer=answer).reason}; {_shown(text, row)} of {self.max_tokens}"


@dataclass(frozen=True)
class GroupLength(RewardFunction):
    """Within the completions of one prompt: 0.5 for the shortest falling to -0.5 for the longest; at most 0 if wrong.

    `0.5 - (n - shortest) / (longest - shortest)`; 0 for all when all are equally long, and for one alone. Kimi k1.5,
    arXiv:2501.12599, section 2.3.3. Neighbouring rows with the same prompt are one group, as TRL lays them out.
    None when the gold answer cannot be read.
    """

    name = "group_length"
    columns = ("prompts", "answer")
    optional_columns = ("completion_ids",)
    purpose = "Shorter than its own group, whatever the problem needs; the paper warms it up during the run."
    weakness = (
        "Drops reasoning that is needed on hard problems, and of wrong answers an empty one loses least; "
        "bound it with `too_short`."
    )
    known_exploits = ("empty",)
    range = (-0.5, 0.5)

    correct: Correct = correct
    """How the answer is found and judged."""

    def scores(
        self, completions: Sequence[Completion], lists: Mapping[str, Sequence[Any]], extra: Mapping[str, Any]
    ) -> list[float | None]:
        texts = [text_of(completion) for completion in completions]
        ids = lists.get("completion_ids", [None] * len(texts))
        lengths = [count_tokens(*pair) for pair in zip(texts, ids, strict=True)]
        verdicts = [self.correct.judge(text, answer=gold) for text, gold in zip(texts, lists["answer"], strict=True)]
        scores: list[float | None] = []
        for group in groups(lists["prompts"]):
            shortest, longest = min(lengths[group]), max(lengths[group])
            for n, verdict in zip(lengths[group], verdicts[group], strict=True):
                share = 0.5 - (n - shortest) / (longest - shortest) if longest > shortest else 0.0
                is_right = verdict == self.correct.right
                scores.append(None if verdict is None else share if is_right else min(0.0, share))
        return scores

    def judge(self, text: str, *, answer: object, **_: Any) -> float | None:
        return None if self.correct.judge(text, answer=answer) is None else 0.0

    def reason(self, text: str, score: float | None, *, answer: object, **row: Any) -> str:
        return f"{_shown(text, row)}, alone in its group; {self.correct.explain(text, answer=answer).reason}"


def groups(prompts: Sequence[Any]) -> list[slice]:
    """The runs of equal neighbouring prompts, in order: the groups of a batch."""
    edges = [i for i in range(1, len(prompts)) if prompts[i] != prompts[i - 1]]
    return [slice(*pair) for pair in pairwise([0, *edges, len(prompts)])] if prompts else []


length_band = LengthBand()
too_short = TooShort()
overlong = Overlong()
cosine_length = CosineLength()
group_length = GroupLength()
