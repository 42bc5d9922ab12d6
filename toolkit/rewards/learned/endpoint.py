"""One address that JSON is posted to: time-outs, retries, a key that stays hidden."""

from __future__ import annotations

import email.utils
import os
import random
import re
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from toolkit.errors import RewardError
from toolkit.rewards.completions import one_line

MAX_WAIT_S = 60.0
"""The longest pause before a retry, whatever the server asks for."""
TRY_AGAIN = frozenset((408, 425, 429))
REFUSED = frozenset((400, 413, 422))
"""The server is there and does not take this request: too long, filtered, or a setting that it does not know."""
_KEY = re.compile(r"[!-~]+")
T = TypeVar("T")


@dataclass(frozen=True)
class Reply(Generic[T]):
    content: T | None
    """None: nothing to read, for the reason in `why`."""
    why: str = ""
    detail: str = ""
    """What the server said with it; another one each time."""
    refused: bool = False
    """The server answers, but did not take this request."""


class Endpoint(Generic[T]):
    """Sends one request at a time for each thread, over at most `concurrency` connections.

    `read` makes of a successful httpx.Response what the caller wants of it; None asks again, as for a failure. `wanted`
    names that in words: "its answer is no ...". Redirects are not followed: they would carry the key elsewhere.
    """

    def __init__(
        self,
        url: str,
        read: Callable[[Any], T | None],
        wanted: str,
        *,
        timeout_s: float,
        retries: int,
        backoff_s: float,
        concurrency: int = 1,
        api_key_env: str = "",
        auth: tuple[str, str] | None = None,
    ) -> None:
        import httpx

        self._url, self._read, self._wanted = url, read, wanted
        self._api_key_env, self._timeout_s = api_key_env, timeout_s
        self._retries, self._backoff_s = retries, backoff_s
        self._client = httpx.Client(
            auth=auth, timeout=httpx.Timeout(timeout_s, pool=None), limits=httpx.Limits(max_connections=concurrency)
        )
        weakref.finalize(self, self._client.close)
        self._n_answers = 0
        self.is_down = False
        """Nothing came back in all attempts of one request, nor of any beside it. Then a request is one attempt."""
        self._jitter = random.Random()  # of its own: a run's seeded one must not depend on the network

    def _key(self) -> str:
        """The key in the environment variable, read anew each time, and never quoted; "" where none is asked for."""
        if not self._api_key_env:
            return ""
        key = os.environ.get(self._api_key_env, "").strip()
        if not _KEY.fullmatch(key):
            found = "has characters that no HTTP header takes" if key else "is not set"
            raise RewardError(f"environment variable {self._api_key_env} {found}", "the judge's API key in it")
        return key

    def post(self, body: Mapping[str, Any], *, attempts: int | None = None) -> Reply[T]:
        """Send one request, again after a pause where that may help; at most `attempts` times.

        Tried again: no connection, no answer within `timeout_s`, status 408, 425, 429 and 5xx (after what `Retry-After`
        says, at most `MAX_WAIT_S`), and an answer that cannot be read.

        Raises:
            RewardError: there is no key.
        """
        n_attempts = attempts or (1 if self.is_down else self._retries + 1)
        n_answers_before = self._n_answers
        reply: Reply[T] = Reply(None, "not asked")
        for attempt in range(n_attempts):
            reply, wait_s = self._once(body)
            if wait_s is None:
                return reply
            if attempt + 1 < n_attempts:
                pause_s = self._backoff_s * 2**attempt * self._jitter.uniform(0.5, 1.0)
                time.sleep(min(MAX_WAIT_S, max(wait_s, pause_s)))
        self.is_down = self._n_answers == n_answers_before
        return reply

    def _once(self, body: Mapping[str, Any]) -> tuple[Reply[T], float | None]:
        """The reply, and the seconds after which to try again; None: not again."""
        import httpx

        key = self._key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            response = self._client.post(self._url, json=body, headers=headers)
        except httpx.TimeoutException:
            return Reply(None, f"no answer in {self._timeout_s:g} s"), 0.0
        except httpx.HTTPError as error:  # its text may quote what was sent
            return Reply(None, f"no connection ({type(error).__name__})"), 0.0
        self._n_answers += 1
        self.is_down = False
        if response.is_success:
            content = self._read(response)
            if content is None:
                return Reply(None, f"its answer is no {self._wanted}"), 0.0
            return Reply(content), None
        said = one_line(response.text.replace(key, "***") if key else response.text, 100)
        reply: Reply[T] = Reply(None, f"HTTP {response.status_code}", said, response.status_code in REFUSED)
        if response.status_code in TRY_AGAIN or response.is_server_error:
            return reply, _retry_after_s(response.headers.get("retry-after", ""))
        return reply, None


def _retry_after_s(header: str) -> float:
    """Seconds, or a date (RFC 9110, section 10.2.3); 0 for anything else."""
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
