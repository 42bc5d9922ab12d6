"""The nearest settings that fit, in the order that costs least.

The order is the price: first what costs only time within the step, then what changes how a step is cut, then what the
model may learn from. Each change is tried on top of those before it, and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from toolkit.vram.cards import Card
from toolkit.vram.plan import Plan, make_plan
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape

MIN_COMPLETION = 128
MIN_UTILISATION = 0.2


@dataclass(frozen=True)
class Change:
    """One flag with its new value, and what it saves at the peak in GiB on top of the changes before it."""

    flag: str
    value: str
    saves_gib: float

    def __str__(self) -> str:
        return f"--{self.flag} {self.value}"


def nearest_that_fits(request: Request, shape: Shape, card: Card) -> tuple[Plan, list[Change]] | None:
    """The plan that fits and the changes that lead to it; None when nothing on the list is enough.

    An empty list of changes says that the request itself fits.
    """
    plan, changes = make_plan(request, shape, card), []
    for step in LADDER:
        while not plan.fits:
            changed = next(step(plan.request), None)
            if changed is None:
                break
            flag, candidate = changed
            tried = make_plan(candidate, shape, card)
            saved = plan.peak_process_gib - tried.peak_process_gib
            if saved <= 0:
                break
            changes.append(Change(flag, _value(candidate, flag), saved))
            plan = tried
        if plan.fits:
            return plan, _joined(changes)
    return None


Step = Callable[[Request], Iterator[tuple[str, Request]]]


def _standby(r: Request) -> Iterator[tuple[str, Request]]:
    if r.task == "grpo" and r.generation == "vllm" and not r.standby and r.framework == "unsloth":
        yield "standby", replace(r, standby=True)


def _checkpointing(r: Request) -> Iterator[tuple[str, Request]]:
    best = "unsloth" if r.framework == "unsloth" else "hf"
    if r.checkpointing == "none" or (r.checkpointing == "hf" and best == "unsloth"):
        yield "gradient_checkpointing", replace(r, gradient_checkpointing=best)


def _head(r: Request) -> Iterator[tuple[str, Request]]:
    if r.head == "logits":
        yield "loss_head", replace(r, loss_head="unsloth" if r.framework == "unsloth" else "chunked")


def _optim(r: Request) -> Iterator[tuple[str, Request]]:
    if r.optim == "adamw_torch":
        yield "optim", replace(r, optim="adamw_8bit")


def _smaller_pass(r: Request) -> Iterator[tuple[str, Request]]:
    half, steps = r.per_device_train_batch_size // 2, 2 * r.gradient_accumulation_steps
    if r.per_device_train_batch_size % 2 == 0 and half and r.steps_per_generation is None:
        smaller = replace(r, per_device_train_batch_size=half, gradient_accumulation_steps=steps)
        yield "per_device_train_batch_size", smaller


def _engine_share(r: Request) -> Iterator[tuple[str, Request]]:
    share = round(r.gpu_memory_utilization - 0.05, 2)
    if r.task == "grpo" and r.generation == "vllm" and not r.standby and share >= MIN_UTILISATION:
        yield "gpu_memory_utilization", replace(r, gpu_memory_utilization=share)


def _quantise(r: Request) -> Iterator[tuple[str, Request]]:
    if r.method == "lora":
        yield "method", replace(r, method="qlora")


def _shorter(r: Request) -> Iterator[tuple[str, Request]]:
    if r.task == "sft" and r.max_seq_length >= 2 * MIN_COMPLETION:
        yield "max_seq_length", replace(r, max_seq_length=int(0.75 * r.max_seq_length) // 64 * 64)
    elif r.task == "grpo" and r.max_completion_length >= 2 * MIN_COMPLETION:
        yield "max_completion_length", replace(r, max_completion_length=int(0.75 * r.max_completion_length) // 64 * 64)


LADDER: tuple[Step, ...] = (
    *(_standby, _checkpointing, _head, _optim),
    *(_smaller_pass, _engine_share),
    *(_quantise, _shorter),
)


def _value(request: Request, flag: str) -> str:
    if flag == "per_device_train_batch_size":
        size, steps = request.per_device_train_batch_size, request.gradient_accumulation_steps
        return f"{size} --gradient_accumulation_steps {steps}"
    return str(getattr(request, flag))


def _joined(changes: list[Change]) -> list[Change]:
    """Repeated steps of one flag as one change: its last value, and all that they saved."""
    joined: dict[str, Change] = {}
    for change in changes:
        before = joined.get(change.flag)
        joined[change.flag] = replace(change, saves_gib=change.saves_gib + (before.saves_gib if before else 0.0))
    return list(joined.values())
