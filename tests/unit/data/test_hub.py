"""Why GSM8K could not be loaded, from what `load_dataset` raises: each cause has its own remedy."""

from __future__ import annotations

import errno
import os

import httpx
import pytest
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub.errors import HfHubHTTPError

from toolkit.data.hub import explained
from toolkit.errors import DataError, HubError, ToolkitError


def system_error(number: int, *file: str) -> OSError:
    return OSError(number, os.strerror(number), *file)


def refusal(status: int) -> HfHubHTTPError:
    response = httpx.Response(status, request=httpx.Request("GET", "http://hub.example"))
    return HfHubHTTPError(f"Client error {status}", response=response)


CASES: dict[str, tuple[Exception, type[ToolkitError], str]] = {
    "disk full in mid-write": (system_error(errno.ENOSPC, "/cache/x"), DataError, "disk of the cache is full"),
    "disk too small": (OSError("Not enough disk space. Needed: 9 MiB"), DataError, "disk of the cache is full"),
    "read-only cache": (system_error(errno.EROFS, "/cache/x"), DataError, "cannot be used (/cache/x: Read-only"),
    "somebody else's cache": (system_error(errno.EACCES, "/cache/x"), DataError, "/cache/x: Permission denied"),
    "refused": (refusal(401), HubError, "the Hub refuses openai/gsm8k (HTTP 401)"),
    "not shown": (DatasetNotFoundError("Dataset 'openai/gsm8k' doesn't exist"), HubError, "has no openai/gsm8k"),
    "refused connection": (ConnectionRefusedError(*system_error(errno.ECONNREFUSED).args), HubError, "does not answer"),
    "offline": (ConnectionError("Couldn't reach 'openai/gsm8k' (OfflineModeIsEnabled)"), HubError, "does not answer"),
    "broken in mid-download": (httpx.ReadTimeout("The read operation timed out"), HubError, "does not answer"),
    "errors of the Hub": (FileNotFoundError("Couldn't find 'openai/gsm8k' on the Hub"), HubError, "does not answer"),
    "a torn file": (ValueError("Magic bytes not found\nin footer"), DataError, "loaded (Magic bytes not found)"),
    "nothing said": (RuntimeError(), DataError, "(RuntimeError)"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "said"), CASES.values(), ids=CASES)
def test_the_cause_is_told_apart(error: Exception, kind: type[ToolkitError], said: str) -> None:
    wrapped = DatasetGenerationError("An error occurred while generating the dataset")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        line = explained(raised, "openai/gsm8k")
        assert type(line) is kind
        assert said in str(line)
