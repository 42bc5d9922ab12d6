"""The longest sample that a run can meet, through one update before the first step: memory that is not there for it
is missed at step 0 and not at step 120 (https://github.com/unslothai/unsloth/issues/1624).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from toolkit.compat import trl as trl_compat
from toolkit.compat.contracts import require
from toolkit.compat.vllm import random_state_kept
from toolkit.machine import processes
from toolkit.machine.peaks import torch_peaks_gib
from toolkit.runs import Run
from toolkit.runs.names import PREFLIGHT
from toolkit.settings import Lengths
from toolkit.training.events import Observer
from toolkit.training.grpo import Assembly
from toolkit.units import format_gib, format_seconds
from toolkit.vram.formula.costs import optimizer_bytes
from toolkit.vram.mapping import LARGEST_OPTIMIZER, OPTIMIZERS

if TYPE_CHECKING:
    from toolkit.display.live import View

NOT_ON_A_CPU = "the longest sample is not tried on a CPU: it takes as long as a step, and no error tells when RAM ends"
_CHANGED = (
    *("_metrics", "_logs", "_pending_metrics", "_pending_extra_logs", "_current_train_step_time"),
    *("_step", "_buffered_inputs", "entropy_coef", "_last_world_entropy", "_entropy_window_stats"),
)
"""What a round and an update change of a trainer beside its weights (TRL 1.15)."""


class LongestFirst(Observer):
    """Tries the longest sample before the first step, on a card, once a run. Comes before whoever times the step."""

    def __init__(self, assembly: Assembly, run: Run, view: View) -> None:
        self._assembly, self._run, self._view = assembly, run, view
        self._is_due = "longest" not in run.document(PREFLIGHT)

    def before_step(self, n_done: int) -> None:
        if self._is_due:
            settings, before = self._assembly.resolved.settings, self._view.state.phase
            self._view.phase("trying the longest sample")  # what is said where memory runs out
            found = try_longest(self._assembly.trainer, settings.lengths, settings.optim.optim)
            self._run.update(PREFLIGHT, longest=found)
            self._view.say(in_words(found))
            self._view.phase(before)
        self._is_due = False


def open_longest(assembly: Assembly, run: Run, view: View) -> LongestFirst | None:
    """The try that the settings ask for; None where it is not wanted, or not worth it."""
    if not assembly.resolved.settings.record.preflight or processes.sharding():
        return None
    if assembly.trainer.accelerator.device.type == "cpu":
        run.update(PREFLIGHT, longest={"skipped": NOT_ON_A_CPU})
        return None
    return LongestFirst(assembly, run, view)


def in_words(found: dict[str, Any]) -> str:
    """One line."""
    peak = found["peak_reserved_gib"]
    memory = f", peak {format_gib(peak)}" if peak is not None else ""
    return (
        f"longest sample: {found['rows']} x {found['tokens']:,} tokens went through an update "
        f"in {format_seconds(found['seconds'])}{memory}"
    )


def try_longest(trainer: Any, lengths: Lengths, optim: str = "adamw_torch") -> dict[str, Any]:
    """One micro-batch of the longest prompt and completion, scored and differentiated as the trainer does it.

    Nothing is learnt: gradients are dropped, and random state, counters and metrics are put back. Adam's moments, which
    come into being with the first step, are stood for by as much memory. Collective: every process takes part.

    Returns:
        `rows` and `tokens` of the micro-batch, `seconds`, and torch's peaks in GiB, None without a card.
    """
    import torch

    started, model = time.perf_counter(), trainer.model_wrapped
    kept = {name: copy.deepcopy(vars(trainer)[name]) for name in _CHANGED if name in vars(trainer)}
    _reset_peaks()
    moments = None
    try:
        with random_state_kept():
            inputs = _longest_inputs(trainer, lengths)
            n_bytes, device = _missing_moments(trainer, optim), trainer.accelerator.device
            moments = torch.empty(n_bytes, dtype=torch.uint8, device=device)
            with _replaced(trainer, trl_compat.PREPARE, lambda _batch: inputs):
                trainer.training_step(model, inputs, None)
        peaks = torch_peaks_gib()
    finally:
        model.zero_grad(set_to_none=True)
        for name, value in kept.items():
            setattr(trainer, name, value)
        del moments
        _reset_peaks()
    return {
        "rows": trainer.args.per_device_train_batch_size,
        "tokens": lengths.total,
        "seconds": round(time.perf_counter() - started, 3),
        "peak_allocated_gib": peaks[0] if peaks else None,
        "peak_reserved_gib": peaks[1] if peaks else None,
    }


def _longest_inputs(trainer: Any, lengths: Lengths) -> dict[str, Any]:
    """A micro-batch as the trainer's own scoring makes it, with the passes that the run's settings add to it."""
    import torch

    size, world = trainer.args.per_device_train_batch_size, trainer.args.world_size
    n = size
    while n * world % trainer.num_generations:  # whole groups over all processes
        n += size
    row = trainer.train_dataset[0]
    ids = require(trainer, trl_compat.TOKENIZE, trl_compat.RELEASE)([row["prompt"]])[0][0]
    prompt, answer = (list(islice(cycle(ids), length)) for length in (lengths.prompt, lengths.completion))
    answer[-1] = min(trl_compat.ending_ids(trainer))  # or `mask_truncated_completions` leaves nothing of it
    is_chat = isinstance(row["prompt"], list)
    text: Any = [{"role": "assistant", "content": ""}] if is_chat else ""
    logps = [[0.0] * len(answer)] * n if trainer.use_vllm else None
    sampled = ([prompt] * n, [answer] * n, None, [text] * n, logps, {}, None, [])
    rewards = torch.arange(n * world, device=trainer.accelerator.device) % 2
    scores = rewards.float()[:, None].repeat(1, len(trainer.reward_funcs))
    with (
        _replaced(trainer, trl_compat.GENERATE, lambda _prompts: sampled),
        _replaced(trainer, trl_compat.CALCULATE_REWARDS, lambda *_: scores),
    ):
        batch = require(trainer, trl_compat.SCORE_ROUND, trl_compat.RELEASE)([row] * n)
    return {name: _first_rows(value, size) for name, value in batch.items()}


def _first_rows(value: Any, n: int) -> Any:
    return value[:n] if getattr(value, "ndim", 0) or isinstance(value, list) else value


def _missing_moments(trainer: Any, optim: str) -> int:
    """Bytes of the optimizer's state that the first step will add; 0 where it is there, or a CPU has the memory."""
    if trainer.accelerator.device.type == "cpu" or (trainer.optimizer is not None and trainer.optimizer.state):
        return 0
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    name = OPTIMIZERS.get(optim, LARGEST_OPTIMIZER)
    return int(sum(optimizer_bytes(p.numel(), p.element_size(), name) for p in trained))


@contextmanager
def _replaced(trainer: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Another method in the place of the trainer's, for a while."""
    own = vars(trainer).get(name)
    setattr(trainer, name, method)
    try:
        yield
    finally:
        delattr(trainer, name) if own is None else setattr(trainer, name, own)


def _reset_peaks() -> None:
    """Begin to count peaks anew, and give back what torch keeps of freed memory: vLLM may need it to wake up."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
