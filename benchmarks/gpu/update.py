"""Load a random model through a backend, make GRPO steps with it, and read what they took. Runs in a cell's process."""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.cells import Cell, folder_of
from benchmarks.gpu.numerics import probe_logps
from toolkit import runs
from toolkit.backends.base import Backend, Policy, Sampling
from toolkit.data.schema import Row, messages
from toolkit.display.console import console
from toolkit.display.live import View
from toolkit.display.state import RunState
from toolkit.machine.devices import Gpu, PeakWatch, ask_for_this_process
from toolkit.machine.peaks import torch_peaks_gib
from toolkit.machine.smaller_card import limit_card
from toolkit.rewards.completions import text_of
from toolkit.runs import metrics
from toolkit.settings import flatten
from toolkit.settings.resolved import Resolved
from toolkit.training import Reward, build_trainer, train
from toolkit.training.notices import differences
from toolkit.vram.cards import find_card

N_ROWS = 64
N_WARM_UP = 4  # tokens, before decoding is timed
POLL_S = 0.05


@dataclass(frozen=True)
class Place:
    """Where and on what a cell runs."""

    gpu: Gpu | None
    models: Path
    """Folder of the random checkpoints."""
    work: Path
    """For the run folder."""
    context_gib: float
    """What the driver counts of a process beyond torch's reserved memory, as earlier cells showed it."""
    result: Path
    """Gets what the cell found; before its end, too, where the cell is made of steps."""

    def checkpoint(self, cell: Cell) -> str:
        """What a backend loads for this cell."""
        return str(folder_of(self.models, *cell.checkpoint))


def backend_for(cell: Cell, gpu: Gpu | None) -> Backend:
    """The engine of a cell, as the recipes use it."""
    from toolkit.backends.transformers import TransformersBackend
    from toolkit.backends.unsloth import UnslothBackend

    return UnslothBackend(gpu) if cell.engine == "unsloth" else TransformersBackend(gpu)


def load(cell: Cell, backend: Backend, source: str) -> Policy:
    """The policy of a cell."""
    settings = cell.settings(source)
    return backend.load(settings.model, source, settings.lengths, settings.record.seed)


def measure_load(cell: Cell, place: Place, found: dict[str, Any]) -> Policy:
    """Load the model and put into `found` what that took."""
    backend, source = backend_for(cell, place.gpu), place.checkpoint(cell)
    if cell.emulates:
        found["emulated"] = limit_card(find_card(cell.emulates).usable_gib, place.context_gib)
    begin = time.perf_counter()
    with watched(place.gpu, found.setdefault("load", {})):
        policy = load(cell, backend, source)
    found["load"]["seconds"] = round(time.perf_counter() - begin, 2)
    found["loaded"] = policy.describe()
    found["n_linear_4bit"] = policy.n_linear_4bit
    return policy


def measure_update(cell: Cell, place: Place, found: dict[str, Any]) -> None:
    """Load, train for `n_steps` through this project's own assembly, and put into `found` what that took.

    Figures are added as they become known, so that those before an error are kept.
    """
    policy = measure_load(cell, place, found)
    settings, backend = cell.settings(place.checkpoint(cell)), backend_for(cell, place.gpu)
    if not cell.emulates:
        found["logps"] = probe_logps(policy, place.gpu)
    run = runs.create("gpu_check", place.work / "run", flatten(settings))
    prompts = practice_rows(policy.tokenizer, cell.max_prompt_length)
    assembly = build_trainer(policy, prompts, [Reward(fingerprint)], Resolved.of(settings), run, backend)
    found["attention"] = policy.attention(assembly.trainer)
    found["differences"] = [str(difference) for difference in differences(assembly)]
    if cell.rollouts == "given":
        # The hook that TRL offers for it; set here because it must not be there when vLLM is set up
        assembly.trainer.rollout_func = given_rollouts(cell, len(policy.tokenizer))
    adapters = {name: p.detach().to("cpu", copy=True) for name, p in trained(policy)}
    update = found.setdefault("update", {})
    try:
        with watched(place.gpu, update, vllm=cell.rollouts == "vllm"):
            view = View(RunState("gpu_check", cell.size, cell.engine, "", cell.n_steps), console)
            train(assembly, run, view)
    finally:
        read_steps(cell, run.rows, update, place.gpu)
        run.close()
    moved = [bool((p.detach().cpu() != adapters[name]).any()) for name, p in trained(policy)]
    found["n_adapters"], found["n_adapters_moved"] = len(moved), sum(moved)
    if cell.n_decoded:
        found["decode"] = measure_decode(cell, backend, policy)


def measure_decode(cell: Cell, backend: Backend, policy: Policy) -> dict[str, float]:
    """Tokens a second of `generate` after short prompts, as many sequences at once as the cell's pass has."""
    n = cell.per_device_train_batch_size
    prompts = [row["prompt"] for row in practice_rows()[:n]]
    backend.generate(policy, prompts, Sampling(N_WARM_UP, 1.0, n))
    begin = time.perf_counter()
    made = backend.generate(policy, prompts, Sampling(cell.n_decoded, 1.0, n))
    seconds = time.perf_counter() - begin
    n_tokens = sum(generation.n_tokens for generation in made)
    return {"n_sequences": n, "n_tokens": n_tokens, "tokens_per_s": round(n_tokens / seconds, 1)}


def given_rollouts(cell: Cell, n_tokens_known: int) -> Callable[..., dict[str, Any]]:
    """A `rollout_func` of TRL: prompts of max_prompt_length and completions of max_completion_length random tokens.

    Every second completion is one to eight tokens shorter, so that the pass has the attention mask of real rollouts;
    all end with the end token.
    """
    import random

    rng, end = random.Random(0), 2

    def tokens(n: int) -> list[int]:
        return [rng.randrange(4, n_tokens_known) for _ in range(n)]

    def rollout(prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        del trainer
        missing = [0 if cell.equal_lengths or i % 2 == 0 else 1 + i % 8 for i in range(len(prompts))]
        return {
            "prompt_ids": [tokens(cell.max_prompt_length) for _ in prompts],
            "completion_ids": [[*tokens(cell.max_completion_length - n - 1), end] for n in missing],
            "logprobs": None,
        }

    return rollout


def practice_rows(tokenizer: Any = None, n_tokens: int = 0) -> list[Row]:
    """Prompts for what must have some; with a tokenizer, filled up to `n_tokens` each.

    They are filled with digits, each of which is a token to Qwen's pre-tokenizer.
    """
    rows = [_row(f"What is {i} plus 3?", i + 3) for i in range(10, 10 + N_ROWS)]
    if tokenizer is None:
        return rows
    text = tokenizer.apply_chat_template(rows[0]["prompt"], add_generation_prompt=True, tokenize=False)
    fill = "3" * max(0, n_tokens - len(tokenizer(text, add_special_tokens=False)["input_ids"]))
    return [_row(f"What is {i} plus 3?{fill}", i + 3) for i in range(10, 10 + N_ROWS)]


def fingerprint(completions: Sequence[Any], completion_ids: Sequence[Any] = (), **columns: Any) -> list[float | None]:
    """A reward of 0 to 1 that differs with every completion, so that each group has a signal.

    Of the token ids, where there are some: the tokenizer knows the text of few.
    """
    del columns
    contents = completion_ids or [text_of(completion) for completion in completions]
    return [zlib.crc32(repr(content).encode()) / 2**32 for content in contents]


def trained(policy: Policy) -> list[tuple[str, Any]]:
    """The adapter's weights with their names."""
    return [(name, p) for name, p in policy.model.named_parameters() if p.requires_grad]


@contextmanager
def watched(gpu: Gpu | None, found: dict[str, Any], *, vllm: bool = False) -> Iterator[None]:
    """Put the peaks of what happens inside into `found`, GiB by kind; on a CPU there are none.

    `vllm`: it works inside, so that torch's own figures say nothing; see `toolkit.vram.measured.Measured`.
    """
    import torch

    if gpu is None:
        yield
        return
    torch.cuda.reset_peak_memory_stats()
    watch = PeakWatch(ask_for_this_process(gpu), POLL_S)
    try:
        with watch:
            yield
    finally:
        allocated, reserved = (None if vllm else torch_peaks_gib()) or (None, None)
        process = watch.peak
        found |= {"allocated": allocated, "reserved": reserved, "process": process.gib if process else None}
        found["process_from"] = process.source if process else None


def read_steps(cell: Cell, rows: Sequence[dict[str, Any]], update: dict[str, Any], gpu: Gpu | None) -> None:
    """Add the steps' peaks, which start anew with each step, and times; the first step compiles and warms up."""
    if gpu is not None:
        for kind, key in (("allocated", metrics.ALLOCATED_GIB), ("reserved", metrics.RESERVED_GIB)):
            peaks = [value for row in rows if (value := row.get(key)) is not None]
            update[kind] = max([*peaks, update[kind]]) if update.get(kind) is not None else None
    update["step_s"] = [round(row[metrics.STEP_S], 3) for row in rows]
    update["loss_is_finite"] = all(row.get(metrics.LOSS) is not None for row in rows) if rows else None
    for key in (metrics.STEP_S, metrics.ROLLOUT_S, metrics.REWARD_S, metrics.UPDATE_S):
        update[f"median_{key.rpartition('/')[2]}"] = _median([row[key] for row in rows[1:]])
    if rows:  # TRL counts all tokens since the start, prompts included
        update["tokens_per_step"] = round(rows[-1]["num_tokens"] / len(rows))
    if update["median_update_s"]:
        update["tokens_per_s"] = round(update["tokens_per_step"] / update["median_update_s"], 1)
    if cell.rollouts != "given" and update["median_rollout_s"]:
        update["rollout_tokens_per_s"] = _median([row[metrics.TOKENS_PER_S] for row in rows[1:]])


def _median(values: list[float]) -> float | None:
    return round(statistics.median(values), 4) if values else None


def _row(question: str, answer: int) -> Row:
    return {"prompt": messages(question), "question": question, "answer": str(answer)}
