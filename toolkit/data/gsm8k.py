"""GSM8K (Cobbe et al. 2021, arXiv:2110.14168; MIT): 7,473 training and 1,319 test problems of grade-school math.

One row: `{"question": "Natalia sold clips to 48 of her friends in April, ...", "answer": "Natalia sold 48/2 = ...
<<48/2=24>>24 clips in May.\\n... \\n#### 72"}`; the gold answer is what follows the last `####`.
"""

from __future__ import annotations

from toolkit.compat.noise import hush_table_bars
from toolkit.data.files import rows_from_table
from toolkit.data.schema import Problems
from toolkit.errors import DataError, HubError

HUB_ID, CONFIG = "openai/gsm8k", "main"
HELD_OUT_SEED = 0  # the same test problems for every training seed


def load(n_held_out: int) -> Problems:
    """Load from the Hub or its local cache: the train split to train on, `n_held_out` of the test split to measure.

    Raises:
        HubError: neither the Hub nor the cache has it.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    hush_table_bars()

    try:
        tables = load_dataset(HUB_ID, CONFIG)
    except (OSError, ValueError, DatasetsError) as error:
        raise HubError(
            f"the Hub does not answer and {HUB_ID} is not in the local cache",
            "a network, or a file",
            "--dataset FILE.jsonl, or --dataset arithmetic, which is generated here",
        ) from error
    if not {"train", "test"} <= set(tables):
        raise DataError(f"{HUB_ID} has the splits {', '.join(map(str, tables))}", "train and test")
    train = rows_from_table(tables["train"], HUB_ID, "question", "answer")
    test = tables["test"].shuffle(seed=HELD_OUT_SEED).select(range(min(n_held_out, len(tables["test"]))))
    held_out = rows_from_table(test, HUB_ID, "question", "answer")
    return Problems(
        train, held_out, HUB_ID, (f"{len(train):,} training rows, {len(held_out)} held out of its test split",)
    )
