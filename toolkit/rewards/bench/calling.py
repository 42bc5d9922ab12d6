"""Calls a reward function as TRL 1.15 does, and reads what comes back."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import time
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from toolkit.data.schema import Row
from toolkit.errors import ToolkitError
from toolkit.rewards.base import RewardWarning
from toolkit.rewards.completions import one_line

Scores = list[float | None]
TOLERANCE = 1e-6
"""Scores that differ by less are the same."""
_TOKEN = re.compile(r" ?[^\W\d]{1,12}|\d|\s{1,32}|[^\w\s]")
NOT_PASSED = ("prompt", "completion", "completion_ids")
"""Columns of the dataset that TRL does not pass on under their names."""


@dataclass(frozen=True)
class Sample:
    """One completion of a row's prompt."""

    row: Row
    text: str


@dataclass(frozen=True)
class Outcome:
    """What one call came to."""

    result: Any = None
    error: str = ""
    """The exception it ended with, on one line."""
    wall_s: float = 0.0
    exception: Exception | None = None

    def problem(self, n: int) -> tuple[str, str] | None:
        """What is wrong with the result for `n` completions, by the name of the finding; None when all is well."""
        if self.error:
            return "call", f"raises {self.error}"
        if isinstance(self.result, (str, bytes, Mapping)) or not hasattr(self.result, "__len__"):
            return "types", f"returns {_kind(self.result)}"
        if len(self.result) != n:
            return "length", f"returns {len(self.result)} scores for {n} completions"
        odd = [score for score in self.result if score is not None and not _is_number(score)]
        if odd:
            return "types", f"a score is {_kind(odd[0])}: {one_line(repr(odd[0]), 40)}"
        wild = next((score for score in self.result if score is not None and not math.isfinite(score)), None)
        return None if wild is None else ("finite", f"a score is {wild}")

    def scores(self, n: int) -> Scores | None:
        """The scores of `n` completions; None where there is a problem."""
        if self.problem(n):
            return None
        return [None if score is None else float(score) for score in self.result]


def _is_number(score: Any) -> bool:
    """Whether TRL can make a float of it: a number, NumPy's too, or a tensor of one."""
    return hasattr(score, "__float__") and not getattr(score, "shape", ())


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "nothing (None)" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def is_conversational(row: Row) -> bool:
    """Whether the row's prompt is messages, so that its completions will be."""
    return isinstance(row.get("prompt"), list)


def arguments(samples: Sequence[Sample], *, messages: bool | None = None) -> dict[str, Any]:
    """TRL's keyword arguments for these completions, in the first step of a run; nothing in them is shared.

    `messages`: completions as messages, or as text; by default as the row's prompt is.
    """
    columns = [name for name in samples[0].row if name not in NOT_PASSED]
    return {
        "prompts": [deepcopy(sample.row["prompt"]) for sample in samples],
        "completions": [_shaped(sample, messages) for sample in samples],
        "completion_ids": [stand_in_ids(sample.text) for sample in samples],
        **{name: [deepcopy(sample.row.get(name)) for sample in samples] for name in columns},
        "trainer_state": SimpleNamespace(global_step=0, max_steps=500, epoch=0.0, log_history=[]),
        "log_extra": _ignore,
        "log_metric": _ignore,
    }


def stand_in_ids(text: str) -> list[int]:
    """Token ids without a tokenizer, about as many: words, single digits and signs; equal ones have equal ids."""
    return [zlib.crc32(token.encode("utf-8", "replace")) for token in _TOKEN.findall(text)]


def _shaped(sample: Sample, messages: bool | None) -> str | list[dict[str, str]]:
    wanted = is_conversational(sample.row) if messages is None else messages
    return [{"role": "assistant", "content": sample.text}] if wanted else sample.text


def _ignore(name: str, value: Any) -> None:
    """Stands for TRL's `log_extra` and `log_metric`; a function of the module, so that it pickles."""


def call(function: Callable[..., Any], given: Mapping[str, Any]) -> Outcome:
    """Call a reward, async ones too; whatever it raises is data."""
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RewardWarning)  # golds that cannot be read are part of the tests
            result = function(**given)
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
    except Exception as error:
        kind = "" if isinstance(error, ToolkitError) else f"{type(error).__name__}: "
        text = f"{kind}{one_line(str(error).rstrip('.'), 160)}"
        return Outcome(error=text, wall_s=time.perf_counter() - started, exception=error)
    return Outcome(result, wall_s=time.perf_counter() - started)


async def _awaited(result: Any) -> Any:
    return await result


def score(function: Callable[..., Any], samples: Sequence[Sample], *, messages: bool | None = None) -> Outcome:
    """Call a reward on these completions."""
    return call(function, arguments(samples, messages=messages))
