"""Is the completion in the R1 format, `<reasoning>...</reasoning><answer>...</answer>`?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from toolkit.rewards.completions import Completion, text_of

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
_STRICT = re.compile(
    r"<reasoning>\n(?P<reasoning>.*?)\n</reasoning>\n<answer>\n(?P<answer>.*?)\n</answer>\n?", re.DOTALL
)
_SOFT = re.compile(r"\s*<reasoning>(?P<reasoning>.*?)</reasoning>\s*<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL)


def _has_each_tag_once(text: str) -> bool:
    return all(text.count(tag) == 1 for tag in TAGS)


def _match(pattern: re.Pattern[str], text: str) -> bool:
    found = pattern.fullmatch(text) if _has_each_tag_once(text) else None
    return found is not None and bool(found["reasoning"].strip()) and bool(found["answer"].strip())


def format(completions: Sequence[Completion], **_: Any) -> list[float | None]:
    """1.0 when the whole completion is the R1 format to the letter: each tag once, on a line of its own.

    Nothing before, nothing after (one newline is allowed), neither part blank. Range: {0, 1}.
    Can be hacked by: empty talk inside `<reasoning>`; it says nothing about the content, so weigh it below
    `correct`.
    """
    return [float(_match(_STRICT, text_of(completion))) for completion in completions]


def format_soft(completions: Sequence[Completion], **_: Any) -> list[float | None]:
    """1.0 for the same two parts in the same order with any white space around the tags. Range: {0, 1}.

    Use it early in a run, when the strict one is never earned. Hacked as `format` is.
    """
    return [float(_match(_SOFT, text_of(completion))) for completion in completions]


def tag_count(completions: Sequence[Completion], **_: Any) -> list[float | None]:
    """0.25 for each of the four tags that occurs exactly once. Range: {0, 0.25, 0.5, 0.75, 1}.

    A slope towards the format for a model that writes some tags. Can be hacked by: tags in any order around
    nothing; never use it without `correct`.
    """
    return [sum(0.25 for tag in TAGS if text_of(completion).count(tag) == 1) for completion in completions]
