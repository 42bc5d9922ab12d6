"""Is the answer right?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.rewards import answers
from toolkit.rewards.completions import Completion, text_of


def correct(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float | None]:
    """1.0 when the last complete `<answer>` block equals the gold answer as a number, else 0.0.

    `18`, `18.0`, `$18`, `1,800`, `18 dollars`, `-3`, `3/4`, `x = 18`, `**18**` are read, `18 million` and
    `18 or nineteen` are not (see `answers.parse_number`). None when the gold answer itself cannot be read: the
    model is not punished for a broken row.
    Range: {0, 1}. Can be hacked by: guessing small whole numbers where those are common; a list of
    candidates in the block does not pass, because a block with two numbers is not an answer.
    """
    return [judge(text_of(completion), gold) for completion, gold in zip(completions, answer, strict=True)]


def judge(completion: str, gold: str) -> float | None:
    """The verdict on one completion; evaluation calls exactly what training calls."""
    block = answers.last_answer_block(completion)
    verdict = answers.equal(block if block is not None else "", gold)
    return None if verdict is None else float(verdict)
