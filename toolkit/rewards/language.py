"""Is the completion in one language? Chinese and English, told apart by their scripts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from toolkit.rewards.base import RewardFunction
from toolkit.rewards.completions import Completion, text_of

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LATIN = "A-Za-z\u00c0-\u024f"
_WORD = re.compile(rf"(?P<zh>[{_HAN}])|(?P<en>[{_LATIN}]{{2,}})|(?P<other>[^\W\d_{_LATIN}{_HAN}]+)")
# What belongs to no language: tags, special tokens, LaTeX commands, formulas, links, code
_NEUTRAL = re.compile(
    r"</?[A-Za-z_]{1,32}>|<\|[A-Za-z_]{1,32}\|>|\\[A-Za-z]+|\$[^$\n]{0,200}\$|https?://\S+|`[^`\n]{0,200}`"
)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
EN_WORD_CHARACTERS = 1.6  # Chinese characters that say what one English word does


def shares(text: str) -> dict[str, float] | None:
    """Shares of Chinese, English and other script in what a text says, adding up to 1; None when it says nothing.

    An English word counts for 1.6 Chinese characters, which say about as much; a word of another script counts as one
    of English. Figures, single letters, tags, LaTeX, links and code belong to no language.
    """
    text = _NEUTRAL.sub(" ", _FENCED.sub(" ", text) if "```" in text else text)
    if text.isascii():
        return {"zh": 0.0, "en": 1.0, "other": 0.0} if _WORD.search(text) else None
    counts = {"zh": 0.0, "en": 0.0, "other": 0.0}
    for found in _WORD.finditer(text):
        kind = found.lastgroup or "other"
        counts[kind] += 1.0 if kind == "zh" else EN_WORD_CHARACTERS
    total = sum(counts.values())
    return {kind: n / total for kind, n in counts.items()} if total else None


@dataclass(frozen=True)
class LanguageConsistency(RewardFunction):
    """Share of the completion that is in `language`, 0 to 1: the language consistency reward of DeepSeek-R1.

    With `as_prompt` the language is the prompt's: the one that its last message has more of; None when the prompt has
    no words. A completion without words (figures only) scores 0. DeepSeek-R1, arXiv:2501.12948, section 2.3.2, where it
    costs a little accuracy.
    """

    name = "language_consistency"
    purpose = "Against mixing Chinese and English in one chain of thought."
    weakness = "Fewer words, all in the language; it judges scripts, so French passes for English."

    language: Language | Literal["as_prompt"] = "as_prompt"

    def __post_init__(self) -> None:
        is_known = self.language in (*LANGUAGES, "as_prompt")
        self._require(is_known, f"language is {self.language!r}", "zh, en or as_prompt")

    @property
    def columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """`prompts` where the prompt decides."""
        return ("prompts",) if self.language == "as_prompt" else ()

    def judge(self, text: str, *, prompts: Completion = "", **_: Any) -> float | None:
        wanted = self._wanted(prompts)
        if wanted is None:
            return None
        found = shares(text)
        return found[wanted] if found else 0.0

    def _wanted(self, prompt: Completion) -> Language | None:
        if self.language != "as_prompt":
            return self.language
        found = shares(text_of(prompt))
        return max(LANGUAGES, key=lambda language: found[language]) if found else None

    def reason(self, text: str, score: float | None, *, prompts: Completion = "", **_: Any) -> str:
        found, wanted = shares(text), self._wanted(prompts)
        if found is None or wanted is None:
            return f"{'the completion' if found is None else 'the prompt'} has no words"
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in found.items() if share)
        return f"wanted {wanted}; it is {kinds}"


language_consistency = LanguageConsistency()
