"""Questions to a trained policy one by one, asked as its training asked, and what each answer would have been paid."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toolkit.backends.base import Generation, Policy, Sampling
from toolkit.data.schema import Messages
from toolkit.errors import DataError, first_line
from toolkit.launch.opened import Opened
from toolkit.rewards.completions import FINISH_REASON, finish_reason
from toolkit.training.rewards import Reward

TRAINED, BASE = "trained", "base"
ANSWER, HELP, QUIT = "/answer", "/help", ("/quit", "/exit")


@dataclass(frozen=True)
class Line:
    """What a person typed: a question, a gold answer for it or for the one before, or a command."""

    question: str = ""
    gold: str | None = None
    command: str = ""


def understood(line: str) -> Line:
    """`question`, `question /answer 18`, `/answer 18`, `/help`, `/quit`; so is any other word behind a slash."""
    text = line.strip()
    if text == ANSWER or text.startswith(f"{ANSWER} "):
        return Line(gold=text.removeprefix(ANSWER).strip())
    if text.startswith("/") and text[1:2].isalpha() and "/" not in text[1:].partition(" ")[0]:
        return Line(command=text.partition(" ")[0])
    question, mark, gold = text.rpartition(f" {ANSWER} ")
    return Line(question.strip(), gold.strip()) if mark else Line(text)


@dataclass(frozen=True)
class Said:
    """An answer: whose, and how it ended."""

    who: str
    text: str
    n_tokens: int
    is_truncated: bool

    @property
    def ending(self) -> str:
        """What is to be said of how it ended; nothing of a whole answer."""
        if self.is_truncated:
            return f"truncated after {self.n_tokens:,} tokens; --max_completion_length allows more"
        return "" if self.text.strip() else "nothing"


@dataclass(frozen=True)
class Score:
    """What one reward gives to an answer."""

    name: str
    weight: float
    value: float | None
    why: str = ""
    """Why there is no value."""


@dataclass
class Chat:
    """A policy in memory. Each question stands alone, as in training."""

    opened: Opened
    policy: Policy
    sampling: Sampling
    question: str = ""
    prompt: Messages = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    """The answers to the last question."""

    def put(self, question: str) -> str:
        """Take a question; what is to be said of its length, or nothing.

        Raises:
            DataError: it leaves no room for an answer in the model's positions.
        """
        self.question, self.said = question, []
        self.prompt = self.opened.messages(question)
        tokenizer = self.policy.tokenizer
        text = tokenizer.apply_chat_template(self.prompt, add_generation_prompt=True, tokenize=False)
        n_prompt = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        limit = getattr(self.policy.model.config, "max_position_embeddings", None) or float("inf")
        if n_prompt >= limit:
            raise DataError(f"the question takes {n_prompt:,} tokens", f"fewer than {limit:,}, the model's positions")
        room = min(self.opened.settings.rollout.max_completion_length, limit - n_prompt)
        self.sampling = replace(self.sampling, max_completion_length=int(room))
        longest = self.opened.settings.data.max_prompt_length
        return f"{n_prompt:,} tokens, more than any prompt in training: {longest:,}" if n_prompt > longest else ""

    def answer(self, who: str, tell: Callable[[str], None]) -> Said:
        """The answer of `TRAINED` or `BASE` to the question that was put, told piece by piece."""
        aside = self.policy.model.disable_adapter() if who == BASE else contextlib.nullcontext()
        with aside:
            done: Generation = self.opened.backend.stream(self.policy, self.prompt, self.sampling, tell)
        said = Said(who, done.text, done.n_tokens, done.is_truncated)
        self.said.append(said)
        return said

    def scores(self, said: Said, gold: str | None) -> list[Score]:
        """What each reward of the run gives; those that need a right answer say so where `gold` is None."""
        row: dict[str, Any] = {"prompt": self.prompt, "question": self.question}
        row[FINISH_REASON] = finish_reason(said.is_truncated)
        if gold is not None:
            row["answer"] = gold
        return [self._score(reward, row, said.text) for reward in self.opened.rewards]

    def _score(self, reward: Reward, row: dict[str, Any], text: str) -> Score:
        from toolkit.evaluation import by_reward

        missing = sorted(reward.columns - row.keys())
        if missing == ["answer"]:
            return Score(reward.name, reward.weight, None, f"needs the right answer: {ANSWER} ...")
        if missing:
            return Score(reward.name, reward.weight, None, f"needs {', '.join(missing)} of a dataset's row")
        try:
            (scored,) = by_reward.judge([reward.function], [row], [text], self.policy.tokenizer)
        except Exception as error:  # a reward of the user's own raises what it likes, and the talk goes on
            return Score(reward.name, reward.weight, None, f"raises {type(error).__name__}: {first_line(error)}")
        value = scored[reward.name]
        return Score(reward.name, reward.weight, value, "" if value is not None else "cannot judge this")


def total(scores: Sequence[Score]) -> float | None:
    """The weighted sum; None while a score is missing."""
    values = [score.weight * score.value for score in scores if score.value is not None]
    return sum(values) if len(values) == len(scores) else None
