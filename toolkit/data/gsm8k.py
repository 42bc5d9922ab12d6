"""GSM8K (Cobbe et al. 2021, arXiv:2110.14168; MIT): 7,473 training and 1,319 test problems of grade-school math.

One row: `{"question": "Natalia sold clips to 48 of her friends in April, ...", "answer": "Natalia sold 48/2 = ...
<<48/2=24>>24 clips in May.\\n... \\n#### 72"}`; the gold answer is what follows the last `####`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from toolkit.compat.noise import hush_table_bars
from toolkit.data.files import IsGold, rows_from_table
from toolkit.data.schema import Problems
from toolkit.errors import DataError, HubError, ToolkitError, first_line

HUB_ID, CONFIG = "openai/gsm8k", "main"
HELD_OUT_SEED = 0  # the same test problems for every training seed
INSTEAD = "--dataset FILE.jsonl, or --dataset arithmetic, which is generated here"


def load(n_held_out: int, *, is_gold: IsGold = bool) -> Problems:
    """Load from the Hub or its local cache: the train split to train on, `n_held_out` of the test split to measure.

    Raises:
        HubError: the Hub cannot be reached, or refuses, and the cache does not have it.
        DataError: the cache cannot be written or its disk is full, or what came is not GSM8K.
    """
    from datasets import load_dataset

    hush_table_bars()

    try:
        tables = load_dataset(HUB_ID, CONFIG)
    except Exception as error:  # datasets, huggingface_hub, httpx, pyarrow and the system each raise their own
        raise explained(error) from error
    if not {"train", "test"} <= set(tables):
        raise DataError(f"{HUB_ID} has the splits {', '.join(map(str, tables))}", "train and test")
    test = tables["test"].shuffle(seed=HELD_OUT_SEED).select(range(min(n_held_out, len(tables["test"]))))
    train, held_out = (
        rows_from_table(table.to_list(), HUB_ID, "question", "answer", is_gold=is_gold)
        for table in (tables["train"], test)
    )
    return Problems(
        train, held_out, HUB_ID, (f"{len(train):,} training rows, {len(held_out)} held out of its test split",)
    )


def explained(error: Exception) -> ToolkitError:
    """What `load_dataset` raised, as ours: a full disk, an unusable cache, a refusal, no network, or broken data."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError

    causes = list(_causes(error))
    for cause in causes:
        if not isinstance(cause, OSError):
            continue
        # datasets finds out by itself before it writes, and then has no errno
        if cause.errno in (errno.ENOSPC, errno.EDQUOT) or "Not enough disk space" in str(cause):
            return DataError(f"{HUB_ID}: the disk of the cache is full", "room", "make room, or: export HF_HOME=FOLDER")
        if cause.errno is not None and cause.filename is not None:
            found = f"{HUB_ID}: the cache cannot be used ({cause.filename}: {cause.strerror})"
            return DataError(found, "a folder that can be written", "for example: export HF_HOME=FOLDER")
        if isinstance(cause, HfHubHTTPError):
            status = f"HTTP {cause.response.status_code}"
            return HubError(f"the Hub refuses {HUB_ID} ({status})", "a token that it takes, or none", INSTEAD)
    if any(isinstance(cause, DatasetNotFoundError) for cause in causes):
        return HubError(f"the Hub has no {HUB_ID}, or does not show it", "a token with access", INSTEAD)
    if any(isinstance(cause, (ConnectionError, FileNotFoundError)) or _is_transport(cause) for cause in causes):
        return HubError(
            f"the Hub does not answer and {HUB_ID} is not in the local cache", "a network, or a file", INSTEAD
        )
    return DataError(
        f"{HUB_ID} cannot be loaded ({first_line(causes[-1])})", "GSM8K's two splits", "clear its folder in the cache"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_transport(error: BaseException) -> bool:
    """Whether httpx, huggingface_hub's client, raised it: a timeout or a connection that broke in mid-download."""
    return type(error).__module__.partition(".")[0] == "httpx"
