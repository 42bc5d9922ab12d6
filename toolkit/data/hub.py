"""Any dataset of the Hub, or a folder that `datasets` reads: a split to train on and a split to measure.

`openai/gsm8k` (Cobbe et al. 2021, arXiv:2110.14168; MIT) has 7,473 training and 1,319 test problems of grade-school
math; the gold answer is what follows the last `####` of `answer`. Code that a dataset brings is never run.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.compat.noise import hush_table_bars
from toolkit.data.alike import without_alike
from toolkit.data.files import key_of, split
from toolkit.data.rows import ENDINGS, Numbered
from toolkit.data.schema import Problems
from toolkit.data.shapes import Wanted
from toolkit.data.table import Table, table_of
from toolkit.errors import DataError, HubError, ToolkitError, did_you_mean, first_line
from toolkit.settings import DataSettings
from toolkit.units import plural

GSM8K = "openai/gsm8k"
CONFIGS = {GSM8K: "main"}
"""The configuration of a dataset that has several, where none is asked for."""
HELD_OUT_SEED = 0  # the same test problems for every training seed
INSTEAD = "--dataset FILE.jsonl, or --dataset arithmetic, which is generated here"


def load(settings: DataSettings, wanted: Wanted) -> Problems:
    """The training split, and `n_eval` rows of the test split, or of the training split where there is no such one.

    Raises:
        HubError: the Hub cannot be reached, or refuses, and the cache does not have it.
        DataError: no such configuration or split; the cache cannot be written or its disk is full; rows that cannot be
            used.
    """
    name = settings.dataset
    tables = _tables(settings)
    splits = list(map(str, tables))
    train_split, test_split = settings.dataset_train_split, settings.dataset_test_split
    if train_split not in splits:
        raise _no_split(name, train_split, splits, "dataset_train_split")
    is_default = test_split == DataSettings.dataset_test_split
    if test_split not in splits and not is_default:
        raise _no_split(name, test_split, splits, "dataset_test_split")
    train = table_of(_rows(tables[train_split]), name, lambda n: f"{name} {train_split} row {n}", wanted)
    if test_split not in splits or test_split == train_split:
        others = [other for other in splits if other != train_split]
        asked = f"; --dataset_test_split {others[0]} takes that one" if others else ""
        train.report.append(f"no split {test_split!r} beside {train_split!r}: held out of it{asked}")
        return split(train, name, settings.n_eval, settings.n_hidden)
    shuffled = tables[test_split].shuffle(seed=HELD_OUT_SEED)

    def part(start: int, n: int) -> Table:
        chosen = shuffled.select(range(min(start, len(shuffled)), min(start + n, len(shuffled))))
        return table_of(_rows(chosen), name, lambda n: f"{name} {test_split} row {start + n}, shuffled", wanted)

    test = part(0, settings.n_eval)
    hidden = part(settings.n_eval, settings.n_hidden).rows if settings.n_hidden else []
    held_out = {key_of(row) for row in (*test.rows, *hidden)}
    rows = [row for row in train.rows if key_of(row) not in held_out]
    said = f"{len(rows):,} training rows, {len(test.rows)} held out of its {test_split} split"
    report = [said + (f", {len(hidden)} hidden" if hidden else ""), *train.report]
    if n_same := len(train.rows) - len(rows):
        report.append(f"{plural(n_same, 'row')} dropped: the question is held out")
    if not rows:
        raise DataError(f"{name}: every question of {train_split} is in {test_split}", "two different splits")
    rows, lines = without_alike(rows, [*test.rows, *hidden])
    report += [*lines, *(line for line in test.report if line not in report)]
    return Problems(rows, test.rows, name, tuple(report), hidden=hidden, has_reserve=True)


def _no_split(name: str, asked: str, splits: list[str], flag: str) -> DataError:
    hint = did_you_mean(asked, splits) or f"one of {', '.join(splits)}"
    return DataError(f"{name} has no split {asked!r}", hint, f"name it with --{flag}")


def _tables(settings: DataSettings) -> Any:
    """A table for each split."""
    folder = Path(settings.dataset).expanduser()
    if folder.is_dir() and not any(path.is_file() and _is_data(path) for path in folder.rglob("*")):
        raise DataError(f"{folder} is a folder", f"a file, {ENDINGS}", "name one file in it")
    from datasets import DatasetDict, load_dataset, load_from_disk

    hush_table_bars()
    name, config = settings.dataset, settings.dataset_config or CONFIGS.get(settings.dataset)
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():  # of `save_to_disk`
            tables = load_from_disk(str(folder))
        else:
            tables = load_dataset(str(folder) if folder.is_dir() else name, config)
    except Exception as error:  # datasets, huggingface_hub, httpx, pyarrow and the system each raise their own
        of_folder = _of_folder(error, folder, config) if folder.is_dir() else None
        raise of_folder or explained(error, name, config) from error
    return tables if isinstance(tables, dict) else DatasetDict({settings.dataset_train_split: tables})


def _is_data(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".jsonl", ".json", ".csv", ".parquet", ".arrow", ".txt", ".zip"))


def _rows(table: Any) -> Iterator[Numbered]:
    """As Arrow has them: images and sounds are not decoded."""
    number = 0
    for batch in table.with_format("arrow").iter(batch_size=256):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _of_folder(error: Exception, folder: Path, config: str | None) -> ToolkitError:
    causes = list(_causes(error))
    for cause in causes:
        if found := _of_system(cause, str(folder)) or _of_config(str(cause), str(folder), config):
            return found
    found = f"{folder} cannot be loaded ({first_line(causes[-1])})"
    return DataError(found, "a folder of tables of one shape", "name one file in it: --dataset FILE")


def explained(error: Exception, name: str, config: str | None = None) -> ToolkitError:
    """What `load_dataset` raised, as ours: an unknown name or configuration, a refusal, a full disk, an unusable cache,
    no network, or broken data."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError

    causes = list(_causes(error))
    if any(isinstance(cause, GatedRepoError) or "is a gated dataset" in str(cause) for cause in causes):
        page = f"https://huggingface.co/datasets/{name}"
        return HubError(f"{name} is gated", "access to it", f"ask for it on {page}, then: hf auth login")
    if any(isinstance(cause, DatasetNotFoundError) for cause in causes):
        return HubError(f"the Hub has no {name}, or does not show it", "a token with access", INSTEAD)
    for cause in causes:
        if found := _of_system(cause, name) or _of_config(str(cause), name, config):
            return found
    if any(map(_is_transport, causes)):
        found = f"the Hub does not answer and {name} is not in the local cache"
        return HubError(found, "a network, or a file", INSTEAD)
    if any("scripts are no longer supported" in str(cause) for cause in causes):
        return DataError(f"{name} is made by a script, which is not run", "a dataset of files", INSTEAD)
    cleared = "clear its folder in the cache"
    return DataError(f"{name} cannot be loaded ({first_line(causes[-1])})", "tables that `datasets` reads", cleared)


def _of_system(error: BaseException, name: str) -> ToolkitError | None:
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, OSError):
        return None
    # datasets finds out by itself before it writes, and then has no errno
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "Not enough disk space" in str(error):
        return DataError(f"{name}: the disk of the cache is full", "room", "make room, or: export HF_HOME=FOLDER")
    if error.errno is not None and error.filename is not None:
        found = f"{name}: the cache cannot be used ({error.filename}: {error.strerror})"
        return DataError(found, "a folder that can be written", "for example: export HF_HOME=FOLDER")
    if isinstance(error, HfHubHTTPError):
        status = f"HTTP {error.response.status_code}"
        return HubError(f"the Hub refuses {name} ({status})", "a token that it takes, or none", INSTEAD)
    return None


def _of_config(said: str, name: str, config: str | None) -> DataError | None:
    """An unknown or missing configuration, with those that there are. `datasets` 4.8 says them in its message only."""
    listed = re.search(r"(?:Available|available configs|in the cache): (?:\[(.*)\]|(.*))", said)
    if not listed or "config" not in said.lower():
        return None
    known = [each.strip(" '\"") for each in (listed[1] or listed[2]).split(",")]
    found = f"{name} has no configuration {config!r}" if config else f"{name} has {len(known)} configurations"
    hint = did_you_mean(config or "", known) or f"one of {', '.join(known)}"
    return DataError(found, hint, f"for example: --dataset_config {known[0]}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_transport(error: BaseException) -> bool:
    """No network and nothing in the cache; or, by httpx, huggingface_hub's client, a connection that broke."""
    is_httpx = type(error).__module__.partition(".")[0] == "httpx"
    return is_httpx or isinstance(error, (ConnectionError, FileNotFoundError)) or "find cache for" in str(error)
