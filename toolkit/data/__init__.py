"""Datasets by name or file, and the prompt budget."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit.data import prompts
from toolkit.data.arithmetic import ARITHMETIC
from toolkit.data.schema import Problems, Row
from toolkit.errors import DataError, did_you_mean
from toolkit.settings import DataSettings

N_GENERATED = 4096  # fixed, so that more steps on resume see the same problems in the same order


def load(settings: DataSettings, seed: int, *, is_gold: Callable[[str], bool] = bool) -> Problems:
    """Load the dataset that the settings name, each question in a prompt; `is_gold`: see `files.IsGold`.

    Files that `system_prompt` and `examples` name are read before: see `examples.read_files`.

    Raises:
        DataError, HubError: what the loaders raise; an unknown name, with the nearest; see `prompts.ask`.
    """
    return prompts.ask(_load(settings, seed, is_gold), settings)


def _load(settings: DataSettings, seed: int, is_gold: Callable[[str], bool]) -> Problems:
    from toolkit.data import arithmetic, files, gsm8k

    if settings.dataset == ARITHMETIC:
        return arithmetic.load(N_GENERATED, settings.n_eval, seed)
    if settings.dataset in (gsm8k.HUB_ID, "gsm8k"):
        return gsm8k.load(settings.n_eval, is_gold=is_gold)
    path = Path(os.path.expanduser(settings.dataset))
    if path.suffix or os.path.exists(path):  # Path.exists raises for a name longer than the file system takes
        columns = settings.question_column, settings.answer_column
        return files.load(path, *columns, settings.n_eval, is_gold=is_gold)
    known = (ARITHMETIC, gsm8k.HUB_ID)
    wanted = did_you_mean(settings.dataset, known) or f"{', '.join(known)} or a file"
    of_the_hub = "save another Hub dataset to a file with question and answer columns"
    raise DataError(f"unknown dataset {settings.dataset!r}", wanted, of_the_hub if "/" in settings.dataset else "")


def within_budget(problems: Problems, tokenizer: Any, max_prompt_length: int) -> Problems:
    """Drop rows whose prompt, in the chat template, is longer than the budget, and say how many.

    TRL 1.15 has no `max_prompt_length`: a long prompt would only be found by the engine, in the middle of a run.

    Raises:
        DataError: no training row or no held-out row is left; names the longest and shortest.
    """
    report = list(problems.report)
    kept: dict[str, list[Row]] = {}
    for name, rows in (("training", problems.train), ("held-out", problems.held_out)):
        texts = [tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, tokenize=False) for r in rows]
        lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        kept[name] = [row for row, length in zip(rows, lengths, strict=True) if length <= max_prompt_length]
        dropped = len(rows) - len(kept[name])
        if not kept[name]:
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
    return replace(problems, train=kept["training"], held_out=kept["held-out"], report=tuple(report))
