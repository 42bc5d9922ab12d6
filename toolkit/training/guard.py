"""The guard against NaN: it stops a run before a gradient that is no number reaches the weights, and keeps the batch.

A NaN in the weights makes every later completion noise, and the checkpoints after it worthless; transformers hides a
NaN loss from its log by default (`logging_nan_inf_filter`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from toolkit.compat import trl as trl_compat
from toolkit.errors import DivergedError
from toolkit.machine import processes
from toolkit.runs import Run
from toolkit.runs.names import BROKEN_BATCH, BROKEN_TENSORS
from toolkit.training.checkpoint import save_steps_done
from toolkit.training.events import Observer
from toolkit.training.grpo import Assembly

MAX_OVERFLOWS = 20
"""Steps in a row whose gradient may overflow in fp16, where the scaler skips them and halves its factor each time."""
MASK, ADVANTAGES = "completion_mask", "advantages"
WANTED = "finite numbers"
ADVICE = "lower learning_rate or max_grad_norm, and look there for empty completions and advantages out of range"


class NumberGuard(Observer):
    """Looks at the norm of each step's gradient, which transformers computes anyway."""

    def __init__(self, assembly: Assembly, run: Run) -> None:
        self._trainer, self._run = assembly.trainer, run
        self._steps_per_round = assembly.steps_per_round
        self._batches: list[tuple[Mapping[str, Any], Any]] = []
        self._n_done = self._n_overflows = 0
        trl_compat.wrap_method(self._trainer, trl_compat.COMPUTE_LOSS, self._kept)
        trl_compat.wrap_method(self._trainer, trl_compat.GRAD_NORM, self._checked)

    def before_step(self, n_done: int) -> None:
        self._n_done, self._batches = n_done, []

    def _kept(self, compute_loss: Callable[..., Any]) -> Callable[..., Any]:
        def kept(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            result = compute_loss(model, inputs, *args, **kwargs)
            loss = result[0] if isinstance(result, tuple) else result
            self._batches.append((inputs, loss.detach()))  # no copy: TRL holds the same tensors until the next round
            return result

        return kept

    def _checked(self, grad_norm: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            norm = grad_norm(*args, **kwargs)
            value = float(norm)
            self._n_overflows = 0 if math.isfinite(value) else self._n_overflows + 1
            is_scaled = getattr(self._trainer.accelerator, "scaler", None) is not None
            if self._n_overflows > (MAX_OVERFLOWS if is_scaled else 0):
                self._stop(value)
            return norm

        return checked

    def _stop(self, norm: float) -> None:
        """Keep the batch and the steps done.

        Raises:
            DivergedError: always.
        """
        n_done, facts = self._n_done, [batch_facts(inputs, float(loss)) for inputs, loss in self._batches]
        self._run.write(BROKEN_BATCH, {"step": n_done + 1, "grad_norm": str(norm), "micro_batches": facts})
        if self._run.writes:
            from safetensors.torch import save_file

            save_file(tensors_of([inputs for inputs, _ in self._batches]), str(self._run.folder / BROKEN_TENSORS))
        kept = "the last checkpoint"
        if n_done % self._steps_per_round == 0:
            save_steps_done(self._trainer, self._run, n_done)
            kept = f"checkpoint-{n_done}" if n_done else "the beginning"
        processes.gather(None)  # no process ends before all have saved
        found = f"before the update of step {n_done + 1}: the gradient is {norm}; {in_words(facts)}"
        raise DivergedError(found, WANTED, f"the batch is in {BROKEN_BATCH}; go on from {kept}; {ADVICE}")


def diverged_sampling(error: RuntimeError, n_done: int) -> DivergedError | None:
    """torch's refusal to sample from probabilities that are no numbers, in this project's words; None for others."""
    if "probability tensor contains" not in str(error):
        return None
    found = f"after step {n_done} the model's probabilities are not finite, so nothing can be sampled"
    return DivergedError(found, WANTED, "go on from the last checkpoint with a lower learning_rate or max_grad_norm")


def batch_facts(inputs: Mapping[str, Any], loss: float) -> dict[str, Any]:
    """What of a micro-batch may explain a NaN: its loss, lengths in tokens, empty completions, advantages, and where a
    tensor itself holds numbers that are none."""
    mask, advantages = inputs.get(MASK), inputs.get(ADVANTAGES)
    lengths = [] if mask is None else [int(n) for n in mask.sum(1)]
    values = [] if advantages is None else [float(a) for a in advantages.flatten()]
    floating = {key: v for key, v in inputs.items() if hasattr(v, "is_floating_point") and v.is_floating_point()}
    return {
        "loss": str(loss),
        "lengths": lengths,
        "n_empty": sum(n <= 1 for n in lengths),  # the end token alone
        "advantage_range": [min(values), max(values)] if values else None,
        "not_finite": [key for key, value in floating.items() if not bool(value.isfinite().all())],
    }


def in_words(facts: list[dict[str, Any]]) -> str:
    """`loss of 1 of 4 micro-batches not finite, 3 of 64 completions empty`."""
    n_bad = sum(not math.isfinite(float(one["loss"])) for one in facts)
    n_empty, n = sum(one["n_empty"] for one in facts), sum(len(one["lengths"]) for one in facts)
    words = [f"the loss of {n_bad} of {len(facts)} micro-batches is not finite", f"{n_empty} of {n} completions empty"]
    tensors = sorted({key for one in facts for key in one["not_finite"]})
    return ", ".join([*words, *([f"not finite before the update: {', '.join(tensors)}"] if tensors else [])])


def tensors_of(batches: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Every tensor under `NUMBER.name`, on the CPU and by itself, as safetensors wants it."""
    return {
        f"{i}.{key}": value.detach().cpu().clone().contiguous()
        for i, inputs in enumerate(batches)
        for key, value in inputs.items()
        if hasattr(value, "detach")
    }
