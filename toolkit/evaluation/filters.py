"""The answer filters of lm-evaluation-harness for GSM8K, so that figures compare with published ones.

Task `gsm8k` 3.0 of https://github.com/EleutherAI/lm-evaluation-harness (lm_eval/tasks/gsm8k/gsm8k.yaml), which asks
with five examples that end in `#### 18`. Both filters read the same completion: `strict` takes the first
`#### NUMBER`, `flexible` the last number anywhere; what is taken, and the gold answer, lose commas, dollar signs, all
up to `#### ` and a point at the end, and then must be the same text. They are harsher than `correct` (`18.0` is not
`18`) and laxer (`flexible` takes a number that is no answer).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit.rewards.answers import golds, is_number

INVALID = "[invalid]"
STOPS = ("Question:", "</s>", "<|im_end|>")
"""Where generation ends there; of a completion that was sampled here, what follows the first of them is not read."""
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = tuple(map(re.compile, (",", r"\$", r"(?s).*#### ", r"\.$")))


def strict(text: str) -> str:
    """What `strict-match` takes: the number after the first `#### `, else `[invalid]`."""
    found = _STRICT.search(_until_stop(text))
    return found[1].strip() if found else INVALID


def flexible(text: str) -> str:
    """What `flexible-extract` takes: the last run of digits, commas, points and dollar signs, else `[invalid]`."""
    found = _FLEXIBLE.findall(_until_stop(text))
    return next((group for group in found[-1] if group), INVALID).strip() if found else INVALID


def is_match(taken: str, gold: str) -> bool:
    """Its `exact_match` with `ignore_case` and `regexes_to_ignore`; the gold answer may be a whole solution."""
    return _bare(taken) == _bare(gold)


FILTERS: Mapping[str, Callable[[str], str]] = {"lm_eval_strict": strict, "lm_eval_flexible": flexible}


def verdicts(rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> dict[str, list[bool]]:
    """By each filter, whether a row's completion is right; empty where gold answers are not all numbers.

    Where a row has several gold answers, each counts.
    """
    wanted = [golds(row["answer"]) if row.get("answer") else [] for row in rows]
    if not all(each and all(map(is_number, each)) for each in wanted):
        return {}
    return {
        name: [any(is_match(take(text), gold) for gold in each) for each, text in zip(wanted, texts, strict=True)]
        for name, take in FILTERS.items()
    }


def _until_stop(text: str) -> str:
    return text[: min((at for stop in STOPS if (at := text.find(stop)) >= 0), default=len(text))]


def _bare(text: str) -> str:
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()
