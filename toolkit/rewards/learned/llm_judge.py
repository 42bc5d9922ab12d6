"""A language model as judge, over HTTP. What it costs: one request a completion that was not judged before."""

from __future__ import annotations

import json
import math
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from toolkit.errors import RewardError
from toolkit.rewards.base import Explanation, RewardFunction, RewardWarning
from toolkit.rewards.completions import Completion, one_line, text_of, utf8
from toolkit.rewards.learned import grading
from toolkit.rewards.learned.endpoint import Endpoint
from toolkit.rewards.learned.score_cache import FileCache, ScoreCache, digest

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = ("messages", "model", "stream", "n")
_opening = threading.Lock()
_Item = tuple[str, str, str | None]
"""Question, completion and reference answer."""


@dataclass(frozen=True)
class Judge(RewardFunction):
    """A score that a language model gives, asked on `scale` and brought to 0 to 1. Range: [0, 1].

    It sees the prompt, the completion and, where the dataset has an `answer`, the reference answer.

    **None and 0.** No connection, no answer in time, and an HTTP error after all retries are None: the completion has
    no part in that. A reply without a score that can be read, and a request that the server refuses (status 400, 413,
    422: too long, or filtered), are the completion's doing if the judge scores other completions: then it gets 0, or
    upsetting the judge would be a way out of a low score. A judge that has not given any score yet in this process is
    at fault itself, and gives None. The share of completions that get such a 0 is the metric `unreadable/<name>_frac`.

    Raises:
        RewardError: no `base_url` or `model` is set, or the environment variable of the key is not.
    """

    name = "judge"
    columns = ("prompts",)
    optional_columns = ("answer",)
    purpose = "What no rule can measure, as a language model sees it that follows your criteria."
    weakness = (
        "It can be talked into scores: flattery, sure tone, length, and orders to the judge inside the completion."
    )

    base_url: str = ""
    """Where the API is, such as http://localhost:8000/v1; without a password."""
    model: str = ""
    """The judge's name at that API."""
    api_key_env: str = ""
    """NAME of the environment variable that holds the API key; none without it. The key itself is kept nowhere."""
    criteria: str = grading.CRITERIA
    """What the judge should look at, in plain words; the form of its reply is added."""
    scale: tuple[float, float] = (0.0, 10.0)
    """Worst and best score that the judge is asked for."""
    max_characters: int = 20_000
    """A longer completion is shown without its middle."""
    timeout_s: float = 60.0
    """Longest wait for the connection, and between two pieces of the answer."""
    retries: int = 3
    """Attempts after the first, for the connection and for a reply that can be read."""
    backoff_s: float = 1.0
    """Pause before the first retry; it doubles, up to a minute."""
    concurrency: int = 8
    """Requests under way at once."""
    cache_size: int = 8192
    """Judgements that are remembered; the same prompt and completion are judged once."""
    cache_file: str = ""
    """File that keeps them for the next run: digests and scores, no text."""
    body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """More keys of the request, as the server wants them; they win over `temperature: 0` and `max_tokens: 1024`, and
    null takes one of these out."""

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.base_url)
        except ValueError:
            url = urlsplit("")
        if self.base_url and (url.scheme not in ("http", "https") or not url.hostname):
            self._fail("base_url is no http address", "such as http://localhost:8000/v1")
        if url.username or url.password or url.query:
            self._fail("base_url holds a password or a query", "the bare address, and the key by api_key_env")
        if self.api_key_env and not _VARIABLE.fullmatch(self.api_key_env):  # may be the key itself: not quoted
            self._fail("api_key_env is not the name of an environment variable", "its name, such as JUDGE_API_KEY")
        if not -math.inf < self.scale[0] < self.scale[1] < math.inf:
            self._fail(f"scale is {self.scale[0]} to {self.scale[1]}", "two numbers, the lower first")
        for name, least in (("max_characters", 100), ("retries", 0), ("concurrency", 1), ("cache_size", 1)):
            if getattr(self, name) < least:
                self._fail(f"{name} is {getattr(self, name)}", f"at least {least}")
        if not (0 < self.timeout_s < math.inf and 0 <= self.backoff_s < math.inf):
            self._fail(f"timeout_s is {self.timeout_s}, backoff_s is {self.backoff_s}", "seconds; timeout_s above 0")
        if ours := sorted(set(self.body) & set(_OURS)):
            self._fail(f"body has {ours[0]!r}, which the judge sets itself", "other keys of the request")

    def _fail(self, found: str, wanted: str) -> NoReturn:
        raise RewardError(f"judge: {found}", wanted)

    def judge(self, text: str, *, prompts: Completion, answer: object = None, **_: Any) -> float | None:
        return _bench(self).judged([(prompts, text, answer)])[0].score

    def explain(self, completion: Completion, **row: Any) -> Explanation:
        """Judge one completion, and say what the judge said last, in one line."""
        row = self._checked(row)
        found = _bench(self).judged([(row["prompts"], text_of(completion), row.get("answer"))])[0]
        detail = f": {found.detail}" if found.detail else ""
        return Explanation(found.score, one_line(found.reason + detail))

    def scores(
        self, completions: Sequence[Completion], lists: Mapping[str, Sequence[Any]], extra: Mapping[str, Any]
    ) -> list[float | None]:
        """Several at once, by threads: what is waited for is the network."""
        answers = lists.get("answer", [None] * len(completions))
        rows = zip(lists["prompts"], map(text_of, completions), answers, strict=True)
        found = _bench(self).judged(list(rows))
        if blamed := [judgement for judgement in found if judgement.blamed and judgement.score is not None]:
            self._warn_once("scores 0", blamed[0])
            if log_metric := extra.get("log_metric"):
                log_metric(f"unreadable/{self.__name__}_frac", len(blamed) / len(found))
        return [judgement.score for judgement in found]

    def _warn(self, i: int, completions: Sequence[Completion], columns: Mapping[str, Any]) -> None:
        """As every reward does, but once for each reason and not for each row, and without asking the server again."""
        self._warn_once("scores None", _bench(self).last_failure)

    def _warn_once(self, outcome: str, judgement: _Judgement) -> None:
        told, kind = _bench(self).told, f"{outcome}: {judgement.reason}"
        if kind not in told:
            told.add(kind)
            detail = f" ({judgement.detail})" if judgement.detail else ""
            warnings.warn(f"reward {self.__name__!r} {kind}{detail}", RewardWarning, stacklevel=4)


@dataclass(frozen=True)
class _Judgement:
    score: float | None
    reason: str
    detail: str = ""
    """What the judge or its server said; another one each time."""
    blamed: bool = False
    """No score, and it is the completion's doing if the judge judges others."""


class _Bench:
    """A judge at work: its connection and its memory, one of each in a process for the same settings."""

    def __init__(self, settings: Judge) -> None:
        self._settings = s = settings
        self._endpoint = Endpoint(
            s.base_url.rstrip("/") + "/chat/completions",
            chat_text,
            "chat completion",
            timeout_s=s.timeout_s,
            retries=s.retries,
            backoff_s=s.backoff_s,
            concurrency=s.concurrency,
            api_key_env=s.api_key_env,
        )
        size, file = s.cache_size, s.cache_file
        self._cache = FileCache(size, Path(file)) if file else ScoreCache[float](size)
        body = {"temperature": 0, "max_tokens": 1024, **s.body, "model": s.model}
        self._body = {key: value for key, value in body.items() if value is not None}
        about = (s.base_url, s.criteria, list(s.scale), s.max_characters, self._body)
        self._about = json.dumps(about, sort_keys=True, default=str)
        self._has_judged = False
        self.last_failure = _Judgement(None, "")
        self.told: set[str] = set()
        """Reasons that were warned of."""

    def judged(self, rows: Sequence[tuple[Completion, str, object]]) -> list[_Judgement]:
        """One judgement for each prompt, completion and reference answer; the same three are sent once."""
        items = [self._shown(*row) for row in rows]
        judgements: dict[str, _Judgement] = {}

        def ask(places: list[int]) -> dict[int, float]:
            found = self._ask_all([items[i] for i in places])
            judgements.update(zip((keys[i] for i in places), found, strict=True))
            return {i: v.score for i, v in zip(places, found, strict=True) if v.score is not None and not v.blamed}

        keys = [digest(self._about, *item) for item in items]
        known = self._cache.get_all(keys, ask)
        return [
            judgements.get(key) or _Judgement(score, f"judged before: {score:.3g}")
            for key, score in zip(keys, known, strict=True)
        ]

    def _ask_all(self, items: Sequence[_Item]) -> list[_Judgement]:
        """A server that is down is asked once a batch, so that it does not hold up every step by every time-out."""
        found = [self._ask(items[0])] if self._endpoint.is_down else []
        pool = ThreadPoolExecutor(min(len(items), self._settings.concurrency), "judge")
        try:
            found += pool.map(self._ask_unless_down, items[len(found) :])
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C, only what is under way is waited for
        if self._has_judged:
            found = [replace(judgement, score=0.0) if judgement.blamed else judgement for judgement in found]
        self.last_failure = next((judgement for judgement in found if judgement.score is None), self.last_failure)
        return found

    def _ask_unless_down(self, item: _Item) -> _Judgement:
        return _Judgement(None, "the judge does not answer") if self._endpoint.is_down else self._ask(item)

    def _ask(self, item: _Item) -> _Judgement:
        s, said = self._settings, ""
        for _ in range(s.retries + 1):  # the mark in the request is new each time, so even at temperature 0 it may help
            messages = grading.messages(*item, s.criteria, s.scale)
            reply = self._endpoint.post({**self._body, "messages": messages})
            if reply.content is None:
                return _Judgement(None, f"the judge gives no reply: {reply.why}", reply.detail, reply.refused)
            score = grading.read_score(reply.content, s.scale)
            said = one_line(reply.content[-400:], 120)
            if score is not None:
                self._has_judged = True
                share = (score - s.scale[0]) / (s.scale[1] - s.scale[0])
                return _Judgement(share, f"{score:g} of {s.scale[1]:g}", said)
        found = f"the judge's reply has no score from {s.scale[0]:g} to {s.scale[1]:g}"
        return _Judgement(None, found, said, blamed=True)

    def _shown(self, prompt: Completion, text: str, answer: object) -> _Item:
        """As they are sent: UTF-8 has no lone surrogates."""
        text = grading.shortened(text, self._settings.max_characters)
        return utf8(grading.question_of(prompt)), utf8(text), None if answer is None else utf8(str(answer))


def chat_text(response: Any) -> str | None:
    """The text of the first choice, "" for none; None where the answer is no chat completion."""
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return content if isinstance(content, str) else "" if content is None else None


@cache
def _opened(settings: Judge) -> _Bench:
    return _Bench(settings)


def _bench(settings: Judge) -> _Bench:
    if not settings.base_url or not settings.model:
        missing = "model" if settings.base_url else "base_url"
        hint = "judge:FILE.yaml, or Judge(base_url=..., model=...)"
        raise RewardError(f"reward {settings.__name__!r} has no {missing}", hint)
    with _opening:  # `cache` alone would open it twice for two threads
        return _opened(settings)
