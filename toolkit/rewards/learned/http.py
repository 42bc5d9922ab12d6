"""A reward that a server of your own gives: `--reward http://localhost:8000/score`.

One `POST` of JSON for each batch, answered in JSON:

    {"rows": [{"prompt": [{"role": "user", "content": "2 + 3?"}], "completion": "5", "answer": "5"}, ...]}
    {"scores": [1.0, 0.0, null, ...]}

- `prompt` is as the dataset has it: messages, or text. `completion` is always the text that the model wrote. Every
  other column of the dataset stands beside them under its own name; what JSON cannot say is sent as text, NaN as null.
- One score a row, in the order of the rows: a finite number, or null for "cannot judge". The bare list will do.
- Anything else, a status that is not 2xx, and silence leave the whole batch without scores: null for each row. Status
  408, 425, 429 and 5xx, no connection and no answer in time are tried again first, three times, with pauses that
  double. A run goes on: a warning says how many rows had no score so far.
- A user and password in the address (`http://me:secret@host/score`) are sent by HTTP's basic authentication, and are
  never shown or recorded; neither is what follows a `?`.
"""

from __future__ import annotations

import json
import math
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from toolkit.errors import RewardError
from toolkit.files import finite
from toolkit.rewards import spec
from toolkit.rewards.base import PASSED_BY_TRL, Explanation, RewardFunction, RewardWarning
from toolkit.rewards.completions import Completion, one_line, text_of, utf8
from toolkit.rewards.learned.endpoint import Endpoint

_opening = threading.Lock()
Scores = list[float | None]


@dataclass(frozen=True)
class HttpReward(RewardFunction):
    """The scores that the server at `url` gives, as they are; see the module for what is asked and answered.

    Its range is not known: it declares none. None: the server said null, or gave no answer that can be used.

    Raises:
        RewardError: `url` is no http address.
    """

    name = "http"
    purpose = "What a program of your own says, in any language, on this machine or another."
    weakness = "That of the program; and every step waits for it."
    range = (-math.inf, math.inf)

    url: str = field(repr=False)
    """Where batches are posted to; may hold a user and password."""
    timeout_s: float = 60.0
    """Longest wait for the connection, and between two pieces of the answer."""
    retries: int = 3
    """Attempts after the first."""
    backoff_s: float = 1.0
    """Pause before the first retry; it doubles, up to a minute."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_one = parts.scheme in ("http", "https") and bool(parts.hostname)
            is_one = is_one and parts.port != 0  # a port that is no number raises
        except ValueError:
            is_one = False
        if not is_one:  # not quoted: it may hold a password
            raise RewardError("a reward's address is no http address", "such as http://localhost:8000/score")
        if self.retries < 0 or not (0 < self.timeout_s < math.inf and 0 <= self.backoff_s < math.inf):
            found = f"http reward: timeout_s {self.timeout_s}, retries {self.retries}, backoff_s {self.backoff_s}"
            raise RewardError(found, "timeout_s above 0, the others at least 0")

    @property
    def __name__(self) -> str:
        """The end of the address: `score` of http://localhost:8000/score, `localhost` without a path."""
        parts = urlsplit(self.url)
        return self.title or parts.path.rstrip("/").rpartition("/")[2] or parts.hostname or self.name

    def judge(self, text: str, **row: Any) -> float | None:
        columns = {name: value for name, value in row.items() if name not in PASSED_BY_TRL}
        return _server(self).ask([{"prompt": row.get("prompts"), **columns, "completion": text}])[0]

    def explain(self, completion: Completion, **row: Any) -> Explanation:
        server = _server(self)
        score = self.judge(text_of(completion), **row)
        return Explanation(score, server.last_failure if score is None else "the server's score")

    def scores(
        self, completions: Sequence[Completion], lists: Mapping[str, Sequence[Any]], extra: Mapping[str, Any]
    ) -> Scores:
        n = len(completions)
        given = {name: values for name, values in extra.items() if name not in PASSED_BY_TRL and _is_column(values, n)}
        columns = {"prompt": extra.get("prompts") or [None] * n, **given, "completion": list(map(text_of, completions))}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return _server(self).ask(rows)

    def unavailable(self, row: Mapping[str, Any]) -> str:
        """Ask about one empty completion, once."""
        return _server(self).asked([{**row, "completion": ""}], attempts=1)[1]

    def _warn(self, i: int, completions: Sequence[Completion], columns: Mapping[str, Any]) -> None:
        """At the first batch without a score, and whenever there are twice as many: what is wrong, and how often."""
        server = _server(self)
        if server.is_to_be_told():
            found = f"{server.n_unscored:,} of {server.n_rows:,} completions have no score so far"
            text = f"reward {self.__name__!r}: {found}; last: {server.last_failure}"
            warnings.warn(text, RewardWarning, stacklevel=3)


class _Server:
    """The connection to one server, and what became of it; one in a process for the same settings."""

    def __init__(self, settings: HttpReward) -> None:
        parts = urlsplit(settings.url)
        auth = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
        self._endpoint = Endpoint(
            _without_user(parts),
            lambda response: response.text,
            "text",
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            backoff_s=settings.backoff_s,
            auth=auth,
        )
        self._lock = threading.Lock()
        self.n_rows = self.n_unscored = self._n_told = 0
        self.last_failure = ""

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> Scores:
        scores, why = self.asked(rows)
        with self._lock:
            self.n_rows += len(rows)
            self.n_unscored += scores.count(None)
            self.last_failure = why or ("it gave null" if None in scores else self.last_failure)
        return scores

    def asked(self, rows: Sequence[Mapping[str, Any]], attempts: int | None = None) -> tuple[Scores, str]:
        """A score or None for each row, and what is wrong, if anything is; never an exception of the network's."""
        body = json.loads(utf8(json.dumps(finite({"rows": list(rows)}), default=str, ensure_ascii=False)))
        reply = self._endpoint.post(body, attempts=attempts)
        if reply.content is None:
            detail = f" ({one_line(spec.shown(reply.detail), 80)})" if reply.detail else ""
            return [None] * len(rows), reply.why + detail
        return read_scores(reply.content, len(rows))

    def is_to_be_told(self) -> bool:
        """Whether twice as many rows are without a score as when it was told last."""
        with self._lock:
            is_due = self.n_unscored >= 2 * max(1, self._n_told) or (self.n_unscored > 0 == self._n_told)
            if is_due:
                self._n_told = self.n_unscored
            return is_due


def read_scores(text: str, n: int) -> tuple[Scores, str]:
    """The scores of an answer about `n` rows, and what is wrong with it; None for each row that has none."""
    nothing: Scores = [None] * n
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return nothing, f"its answer is not JSON: {one_line(text, 60)!r}"
    found = said.get("scores") if isinstance(said, dict) else said
    if not isinstance(found, list):
        return nothing, 'its answer is neither {"scores": [...]} nor a list'
    if len(found) != n:
        return nothing, f"it gave {len(found)} scores for {n} rows"
    scores = [_number(value) for value in found]
    odd = [value for value, score in zip(found, scores, strict=True) if score is None and value is not None]
    if odd:
        return scores, f"{len(odd)} of {n} scores are no finite number, such as {one_line(json.dumps(odd[0]), 40)}"
    return scores, ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of 400 digits
        return None


def _is_column(values: Any, n: int) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, (str, bytes)) and len(values) == n


def _without_user(parts: SplitResult) -> str:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


@cache
def _opened(settings: HttpReward) -> _Server:
    return _Server(settings)


def _server(settings: HttpReward) -> _Server:
    with _opening:  # `cache` alone would open it twice for two threads
        return _opened(settings)
