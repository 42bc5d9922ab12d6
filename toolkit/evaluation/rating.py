"""Which of two completions a person prefers, without knowing whose it is: pairs, choices, and what they come to.

Nothing here reads or shows anything: a `Rating` is a value, and every choice makes the next one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from toolkit.data.schema import Messages
from toolkit.errors import DataError
from toolkit.evaluation.estimators import wilson_interval
from toolkit.rewards.completions import FINISH_REASON, TRUNCATED, Completion, text_of
from toolkit.runs.completions import by_problem

Choice = Literal["left", "right", "tie", "skip"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
Winner = Literal["a", "b", "tie"]
_POINTS_OF_B: Mapping[str, float] = {"a": 0.0, "tie": 0.5, "b": 1.0}


@dataclass(frozen=True)
class Answer:
    """What a model wrote, and whether the length limit truncated it."""

    text: str
    is_truncated: bool = False


@dataclass(frozen=True)
class Pair:
    """A prompt with a completion by A and one by B."""

    prompt: Completion
    """As the completions were kept with it: the question, or messages."""
    gold: str | None
    a: Answer
    b: Answer
    b_is_left: bool = False

    @property
    def left(self) -> Answer:
        return self.b if self.b_is_left else self.a

    @property
    def right(self) -> Answer:
        return self.a if self.b_is_left else self.b

    def winner(self, choice: Choice) -> Winner | None:
        """Whose completion a choice prefers; None for a pair that was skipped."""
        if choice == "skip":
            return None
        if choice == "tie":
            return "tie"
        return "b" if (choice == "left") == self.b_is_left else "a"


@dataclass(frozen=True)
class Pairing:
    """What two files of completions have in common."""

    pairs: tuple[Pair, ...]
    n_same: int
    """Prompts for which both wrote the same text, so that there is nothing to prefer."""
    n_alone: int
    """Completions of one whose prompt the other lacks."""


def pair(rows_a: Sequence[Mapping[str, Any]], rows_b: Sequence[Mapping[str, Any]]) -> Pairing:
    """Completions of the same prompt, in the order of A: the first of one with the first of the other, and so on.

    Rows are those that a run keeps (`runs.completions`): `prompt`, `completion`, `answer`, `finish_reason`.

    Raises:
        DataError: no prompt in common, or only equal texts.
    """
    side_a, side_b = by_problem(rows_a), by_problem(rows_b)
    shared = [key for key in side_a if key in side_b]
    if not shared:
        found = f"A's {len(rows_a):,} and B's {len(rows_b):,} completions have no prompt in common"
        raise DataError(found, "completions of the same problems", "measure both on the same rows and seed")
    both = [(side_a[key], side_b[key]) for key in shared]
    pairs = tuple(
        Pair(a["prompt"], _gold(a.get("answer")), answer_a, answer_b)
        for a, b in both
        if (answer_a := _answer(a)).text != (answer_b := _answer(b)).text
    )
    if not pairs:
        found = f"A and B wrote the same text for all {len(shared):,} prompts that they share"
        raise DataError(found, "completions that differ", "there is nothing to compare")
    return Pairing(pairs, len(shared) - len(pairs), len(side_a) + len(side_b) - 2 * len(shared))


def _answer(row: Mapping[str, Any]) -> Answer:
    return Answer(text_of(row["completion"]), row.get(FINISH_REASON) == TRUNCATED)


def _gold(answer: Any) -> str | None:
    """The first of several gold answers will do to read by."""
    first = answer[0] if isinstance(answer, list) and answer else answer
    return None if first is None or isinstance(first, (list, dict)) else str(first)


def shuffled(pairs: Sequence[Pair], seed: int) -> tuple[Pair, ...]:
    """The pairs in an order, and each with sides, that only the seed decides."""
    rng = random.Random(seed)
    placed = [replace(each, b_is_left=rng.random() < 0.5) for each in pairs]
    rng.shuffle(placed)
    return tuple(placed)


@dataclass(frozen=True)
class Rating:
    """Pairs in the order in which they are shown, and the choices so far, from the first pair on."""

    pairs: tuple[Pair, ...]
    choices: tuple[Choice, ...] = ()

    @property
    def current(self) -> Pair | None:
        """The pair to be shown; None when every one was."""
        return self.pairs[len(self.choices)] if len(self.choices) < len(self.pairs) else None

    def first(self, n: int | None) -> Rating:
        """With the first `n` pairs alone, but every pair that has its choice; all for None."""
        return self if n is None else replace(self, pairs=self.pairs[: max(n, len(self.choices))])

    def choose(self, choice: Choice) -> Rating:
        """The rating after this choice for the current pair; a ValueError when there is none."""
        if self.current is None:
            raise ValueError("every pair has its choice")
        return replace(self, choices=(*self.choices, choice))

    def undo(self) -> Rating:
        """Without the last choice; the same where there is none."""
        return replace(self, choices=self.choices[:-1])

    def winners(self) -> list[tuple[Pair, Winner]]:
        """The pairs that were judged, skipped ones left out."""
        chosen = zip(self.pairs, self.choices, strict=False)
        return [(each, winner) for each, choice in chosen if (winner := each.winner(choice)) is not None]

    def result(self) -> dict[str, Any]:
        """Counts, and B's win rate with its 95 % interval.

        `win_rate` counts a tie as half a win, 0 to 1. `interval` is Wilson's, wider than ties need: they
        vary less than wins and losses. Both are None before anything was judged.
        """
        winners = [winner for _, winner in self.winners()]
        points = [_POINTS_OF_B[winner] for winner in winners]
        counts = Counter(winners)
        return {
            "n_pairs": len(self.pairs),
            "n_shown": len(self.choices),
            "n_judged": len(winners),
            "a_wins": counts["a"],
            "b_wins": counts["b"],
            "ties": counts["tie"],
            "skipped": len(self.choices) - len(winners),
            "win_rate": sum(points) / len(points) if points else None,
            "interval": wilson_interval(sum(points), len(points)) if points else None,
        }

    def preferences(self, front: Messages) -> list[dict[str, Messages]]:
        """The pairs with a winner as DPO takes them: `prompt`, `chosen`, `rejected`, each a list of messages.

        `front`: the messages before a question, such as the system's, where a pair was kept with its question alone.
        A truncated winner is left out: it would teach to end in mid-sentence.
        """
        rows = []
        for each, winner in self.winners():
            chosen, rejected = (each.b, each.a) if winner == "b" else (each.a, each.b)
            if winner != "tie" and not chosen.is_truncated:
                said = [{"role": "assistant", "content": answer.text} for answer in (chosen, rejected)]
                rows.append({"prompt": _messages(each.prompt, front), "chosen": said[:1], "rejected": said[1:]})
        return rows


def _messages(prompt: Completion, front: Messages) -> Messages:
    if isinstance(prompt, str):
        return [*front, {"role": "user", "content": prompt}]
    return [{"role": turn["role"], "content": text_of([turn])} for turn in prompt]
