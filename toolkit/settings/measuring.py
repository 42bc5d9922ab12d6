"""What `toolkit eval` and `recipes/evaluate.py` are asked: a policy, what it is asked, and how it is judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from toolkit.errors import SettingsError

Split = Literal["held_out", "hidden", "train"]
OF_THE_RUN = (
    *("dataset", "dataset_config", "dataset_train_split", "dataset_test_split", "question_column", "answer_column"),
    *("max_prompt_length", "prompt_style", "system_prompt", "examples", "reward", "pass_score"),
    *("max_completion_length", "temperature", "seed", "backend", "load_in_4bit"),
)
"""Flags that are settings of a run under the same name."""


@dataclass(frozen=True)
class Measuring:
    """What is not said is as in the run that trained it, or for a model as a recipe would run it on this machine."""

    policy: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|ADAPTER|MODEL", help_behavior_hint="")] = ""
    """A run folder, an adapter's folder, or a model by folder, Hub id or `embedded`."""
    base: str | None = None
    """The model under an adapter whose own record of it leads nowhere."""
    split: Split = "held_out"
    """held_out: measured before and after the run; hidden: never used by it; train: what it was trained on."""
    n_eval: int | None = None
    """Problems to ask; None: as many as the run measured on."""
    n_samples: int = 0
    """Completions a problem beside the greedy one, sampled at `temperature`."""
    k: tuple[int, ...] = ()
    """pass@k and maj@k for each of these, at most n_samples; without it 1 and n_samples."""
    temperature: float | None = None
    """Of the samples; the greedy completion has none."""
    max_completion_length: int | None = None
    """Longest completion in tokens."""
    by: str | None = None
    """Break the figures down by `steps` (equations of the worked solution), or by a column of the dataset."""
    canary: bool = True
    """Perplexity on text that has nothing to do with the task, with and without the adapter."""
    reward: str | None = None
    """TARGET[:WEIGHT],... to judge by in place of the run's rewards; the first one measures."""
    pass_score: float | None = None
    """Score from which on a completion counts as right."""
    dataset: str | None = None
    """An id of the Hub, `arithmetic`, a file, or a folder of files."""
    dataset_config: str | None = None
    """Configuration of a Hub dataset that has several."""
    dataset_train_split: str | None = None
    """Split of a Hub dataset that was trained on."""
    dataset_test_split: str | None = None
    """Split of a Hub dataset to measure on."""
    question_column: str | None = None
    """Column of the question."""
    answer_column: str | None = None
    """Column of the gold answer."""
    max_prompt_length: int | None = None
    """Longest prompt in tokens; longer rows are left out and counted."""
    prompt_style: Literal["r1", "think", "boxed", "hash", "none"] | None = None
    """How the answer is asked for."""
    system_prompt: str | None = None
    """System message, as text or a file."""
    examples: str | None = None
    """Solved examples before each question: how many training rows, or a file; 0 for none."""
    seed: int | None = None
    """Of the samples, and of the rows where the dataset draws them."""
    backend: Literal["auto", "unsloth", "transformers"] | None = None
    """Engine."""
    load_in_4bit: bool | None = None
    """Keep the base in 4-bit NF4."""
    output_dir: Path | None = None
    """Folder of the completions and figures; without it evals/NAME-SPLIT-DIGEST. What is there is not sampled again."""
    json: bool = False
    """Print one JSON object."""

    def changes(self) -> dict[str, Any]:
        """The settings of the run that are asked to be others, by name."""
        given = {name: getattr(self, name, None) for name in OF_THE_RUN}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def ks(self) -> tuple[int, ...]:
        """The k of pass@k and maj@k, in order; none where nothing is sampled."""
        asked = self.k or ((1, self.n_samples) if self.n_samples else ())
        return tuple(sorted(set(asked)))

    def check(self) -> None:
        """Raise SettingsError for what cannot be measured, before anything loads."""
        if self.n_samples < 0:
            raise SettingsError(f"--n_samples is {self.n_samples}", "at least 0")
        for k in self.ks:
            if k < 1:
                raise SettingsError(f"--k is {k}", "at least 1")
            if k > self.n_samples:
                raise SettingsError(f"--k {k} with --n_samples {self.n_samples}", "k at most n", f"--n_samples {k}")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise SettingsError(f"--temperature is {self.temperature}", "a value above 0")
        if self.n_eval is not None and self.n_eval < 1:
            raise SettingsError(f"--n_eval is {self.n_eval}", "at least 1")
