"""Datasets by name, file or folder, and the prompt budget."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from toolkit.data import prompts
from toolkit.data.arithmetic import ARITHMETIC
from toolkit.data.schema import Problems, Row
from toolkit.data.shapes import NEEDS, IsGold, Wanted
from toolkit.errors import DataError, did_you_mean
from toolkit.settings import DataSettings

N_GENERATED = 4096  # fixed, so that more steps on resume see the same problems in the same order
_HUB_ID = re.compile(r"(?=.{1,96}$)(?:\w[\w.-]*/)?\w[\w.-]*")
_FILE_ENDINGS = (
    ".jsonl",
    ".json",
    ".csv",
    ".tsv",
    ".parquet",
    ".gz",
    ".zip",
    ".zst",
    ".txt",
    ".xlsx",
    ".yaml",
    ".arrow",
)


def load(
    settings: DataSettings,
    seed: int,
    *,
    is_gold: IsGold = bool,
    needs: frozenset[str] = NEEDS,
    keep_solutions: bool = False,
) -> Problems:
    """Load the dataset that the settings name, each question in a prompt.

    `needs` are the columns that the rewards read, and that every row must have. `is_gold` (see `shapes.IsGold`) is
    asked where `answer` is one of them. `keep_solutions`: rows keep `worked_solution`, which training does not see.

    Files that `system_prompt` and `examples` name are read before: see `examples.read_files`.

    Raises:
        DataError, HubError: what the loaders raise; an unknown name, with the nearest; see `prompts.ask`.
    """
    wanted = Wanted(settings.question_column, settings.answer_column, needs, is_gold, settings.drop_bad_rows)
    return prompts.ask(_for_trainer(_load(settings, seed, wanted)), settings, keep_solutions=keep_solutions)


def _load(settings: DataSettings, seed: int, wanted: Wanted) -> Problems:
    from toolkit.data import arithmetic, files, hub

    if settings.dataset == ARITHMETIC:
        return arithmetic.load(N_GENERATED, settings.n_eval, seed, settings.n_hidden)
    if settings.dataset == "gsm8k":
        settings = replace(settings, dataset=hub.GSM8K)
    path = Path(os.path.expanduser(settings.dataset))
    # Path.exists raises for a name longer than the file system takes
    if os.path.exists(path) or path.name.lower().endswith(_FILE_ENDINGS):
        if os.path.isdir(path):
            return hub.load(settings, wanted)
        _refuse_hub_flags(settings)
        return files.load(path, wanted, settings.n_eval, settings.n_hidden)
    known = (ARITHMETIC, hub.GSM8K)
    near = did_you_mean(settings.dataset, known)
    if _HUB_ID.fullmatch(settings.dataset) and (settings.dataset == hub.GSM8K or not near):
        return hub.load(settings, wanted)
    wished = near or f"{', '.join(known)}, another id of the Hub, or a file"
    raise DataError(f"unknown dataset {settings.dataset!r}", wished)


def _refuse_hub_flags(settings: DataSettings) -> None:
    for name in ("dataset_config", "dataset_train_split", "dataset_test_split"):
        if (given := getattr(settings, name)) != getattr(DataSettings, name):
            raise DataError(
                f"--{name} is {given}, and {settings.dataset} is a file", "an id of the Hub, or no such flag"
            )


def _for_trainer(problems: Problems) -> Problems:
    """Without the columns that no table can hold, such as numbers beside texts: TRL trains on a table."""
    import pyarrow

    left_out = []
    rows = [*problems.train, *problems.held_out, *problems.hidden]
    for name in [name for name in rows[0] if name not in ("question", "answer", "prompt")]:
        try:
            pyarrow.array([row[name] for row in rows])
        except (pyarrow.ArrowException, UnicodeEncodeError, OverflowError):
            left_out.append(name)
    for row in rows:
        for name in left_out:
            del row[name]
    if not left_out:
        return problems
    line = f"columns left out, since their values are of several types or no text: {', '.join(left_out)}"
    return replace(problems, report=(*problems.report, line))


def _batches(rows: list[Row], size: int = 1024) -> Iterator[list[Row]]:
    waiting = iter(rows)
    while batch := list(islice(waiting, size)):
        yield batch


def within_budget(problems: Problems, tokenizer: Any, max_prompt_length: int) -> Problems:
    """Drop rows whose prompt, in the chat template, is longer than the budget, and say how many.

    TRL 1.15 has no `max_prompt_length`: a long prompt would only be found by the engine, in the middle of a run.

    Raises:
        DataError: no training row or no held-out row is left; names the longest and shortest.
    """
    report = list(problems.report)
    kept: dict[str, list[Row]] = {}
    for name, rows in problems.sides.items():
        lengths: list[int] = []
        for batch in _batches(rows):  # the texts of all of them at once would be a second copy of the dataset
            prompts = [row["prompt"] for row in batch]
            texts = [tokenizer.apply_chat_template(p, add_generation_prompt=True, tokenize=False) for p in prompts]
            lengths += [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        kept[name] = [row for row, length in zip(rows, lengths, strict=True) if length <= max_prompt_length]
        dropped = len(rows) - len(kept[name])
        if rows and not kept[name]:
            fewer = ", or show fewer examples" if problems.examples else ""
            raise DataError(
                f"all {len(rows):,} {name} prompts are longer than {max_prompt_length} tokens",
                f"a budget of at least {min(lengths)}, the shortest",
                f"--max_prompt_length {max(lengths)} keeps all{fewer}",
            )
        if dropped:
            report.append(
                f"{dropped:,} of {len(rows):,} {name} prompts dropped: longer than {max_prompt_length} tokens "
                f"(longest {max(lengths)})"
            )
    return replace(problems.with_sides(kept), report=tuple(report))
