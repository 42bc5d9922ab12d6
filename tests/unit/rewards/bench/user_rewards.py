"""Rewards as users write them, in TRL's convention: a sound one, and one for each trap that the contract knows."""

from __future__ import annotations

import re
import signal
from typing import Any

CALLS: list[int] = []


def text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]


def answered(completion: Any) -> str | None:
    found = re.search(r"<answer>\n(.*)\n</answer>", text(completion))
    return found[1] if found else None


def number(value: str | None) -> float | None:
    try:
        return float((value or "").replace(",", "").replace("$", ""))
    except ValueError:
        return None


def sound(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    golds = map(number, answer)
    return [None if g is None else float(number(answered(c)) == g) for c, g in zip(completions, golds, strict=True)]


def broadcast(completions: list[Any], **_: Any) -> list[float | None]:
    return [1.0]


def without_kwargs(prompts: list[Any], completions: list[Any]) -> list[float]:
    return [0.0 for _ in completions]


def not_a_number(completions: list[Any], **_: Any) -> list[float]:
    return [float("nan") for _ in completions]


def words(completions: list[Any], **_: Any) -> list[Any]:
    return ["good" for _ in completions]


def raises(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return [float(text(c).split("<answer>")[1].split("</answer>")[0]) for c in completions]


def raises_on_superscripts(completions: list[Any], **_: Any) -> list[float]:
    return [float(sum(int(c) for c in text(completion)[-10:] if c.isdigit()) > 3) for completion in completions]


def only_boxed(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return [float(f"\\boxed{{{gold}}}" in text(c)) for c, gold in zip(completions, answer, strict=True)]


def contains(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    return [None if not number(g) else float(g in text(c)) for c, g in zip(completions, answer, strict=True)]


def unreadable_gold_is_right(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    golds = map(number, answer)
    return [1.0 if g is None else float(number(answered(c)) == g) for c, g in zip(completions, golds, strict=True)]


def by_place(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    scores = sound(completions, answer)
    return [None if s is None else s + 0.001 * i for i, s in enumerate(scores)]


def changes_its_inputs(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    scores = sound(completions, list(answer))
    answer[:] = ["" for _ in answer]
    return scores


def with_alarm(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # as math-verify sets its time-out
    except ValueError:
        return [0.0 for _ in completions]
    return sound(completions, answer)


def endless(completions: list[Any], **_: Any) -> list[float]:
    return [float(bool(re.match(r"(a+)+b", text(c)))) for c in completions]


def slow(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    import time

    CALLS.append(len(completions))
    time.sleep(0.1)
    return sound(completions, answer)


def any_number(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return [float(gold in re.findall(r"\d+", text(c))) for c, gold in zip(completions, answer, strict=True)]


def none_for_nan(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    scores = sound(completions, answer)
    return [None if "nan" in text(completion) else score for completion, score in zip(completions, scores, strict=True)]


async def in_future(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    return sound(completions, answer)


nameless = lambda completions, **_: [0.0 for _ in completions]  # noqa: E731 # what cannot be pickled
