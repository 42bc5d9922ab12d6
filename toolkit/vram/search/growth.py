"""How far a run can grow on a card: one size at a time, or all of them together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from toolkit.vram.cards import Card
from toolkit.vram.fit import can_run, surely_fits
from toolkit.vram.plan import Plan, make_plan
from toolkit.vram.request import Request
from toolkit.vram.search.scaling import (
    LENGTH_STEP,
    MAX_BATCH,
    MAX_GENERATIONS,
    batches,
    generations,
    length_name,
    length_of,
    lengths,
    with_length,
    with_num_generations,
)
from toolkit.vram.shapes import Shape

SHORTEST = 256  # tokens; of all sizes together nothing shorter is offered, unless it was asked for


@dataclass(frozen=True)
class Size:
    """A size of a run: the values that are searched, ascending, and the request with one of them."""

    name: str
    values: Sequence[int]
    apply: Callable[[Request, int], Request]


@dataclass(frozen=True)
class Limit:
    """How large one size can get with the others as asked."""

    size: Size
    asked: int
    fits: Plan | None
    """The plan at the largest value that runs; None when not even the smallest does."""
    surely_fits: Plan | None
    """The same where the upper end of the plan's interval fits, too."""

    def value(self, plan: Plan | None) -> int | None:
        """Its value in a plan."""
        return None if plan is None else getattr(plan.request, self.size.name)


def sizes(request: Request, shape: Shape) -> list[Size]:
    """What can grow: the length, the batch, and in GRPO the group, with the batch."""
    found = [
        Size(length_name(request), lengths(request, shape), with_length),
        Size("per_device_train_batch_size", batches(request), _with_batch),
    ]
    if request.task == "grpo":
        found.append(Size("num_generations", generations(request), with_num_generations))
    return found


def _with_batch(request: Request, n: int) -> Request:
    return replace(request, per_device_train_batch_size=n)


def limit_of(size: Size, request: Request, shape: Shape, card: Card) -> Limit:
    """The largest value of one size that runs, and the largest that surely fits; the next larger one does not."""

    def plan_at(value: int) -> Plan:
        return make_plan(size.apply(request, value), shape, card)

    def best(is_good: Callable[[Plan], bool]) -> Plan | None:
        value = last_that_works(size.values, lambda value: is_good(plan_at(value)))
        return None if value is None else plan_at(value)

    return Limit(size, getattr(request, size.name), best(can_run), best(surely_fits))


def candidates(request: Request, shape: Shape, card: Card) -> Iterator[Plan]:
    """The longest run for each batch and group, with as many passes and at least as many prompts a round as asked.

    Batches are powers of two, three times those, and the one asked for, up to the first with which no group runs.
    """
    shortest = min(SHORTEST, length_of(request))
    among = lengths(request, shape)[max(0, shortest // LENGTH_STEP - 1) :]
    usual = {size for k in range(MAX_BATCH.bit_length()) for size in (2**k, 3 * 2**k) if size <= MAX_BATCH}
    for batch in sorted(usual | {request.per_device_train_batch_size}):
        runs = [replace(request, per_device_train_batch_size=batch, num_generations=n) for n in groups(request, batch)]
        found = [(run, longest(run, shape, card, among=among)) for run in runs]
        if runs and all(tokens is None for _, tokens in found):
            return
        yield from (make_plan(with_length(run, tokens), shape, card) for run, tokens in found if tokens is not None)


def groups(request: Request, batch: int) -> list[int]:
    """Every num_generations that divides a round with this batch into at least as many prompts as asked."""
    if request.task == "sft":
        return [request.num_generations]  # without effect
    completions = batch * request.batch.steps_per_generation
    most = min(completions // request.batch.prompts_per_generation, MAX_GENERATIONS)
    return [n for n in range(2, most + 1) if completions % n == 0]


def not_dominated(plans: Iterable[Plan]) -> list[Plan]:
    """The plans that no other equals or exceeds in length, num_generations and batch at once; the longest first."""
    kept: list[Plan] = []
    for plan in sorted(plans, key=sizes_of, reverse=True):  # so whatever exceeds a plan comes before it
        mine = sizes_of(plan)
        if not any(all(a >= b for a, b in zip(sizes_of(other), mine, strict=True)) for other in kept):
            kept.append(plan)
    return kept


def at_sure_length(plan: Plan, card: Card) -> Plan | None:
    """The same batch and group with the longest length that surely fits; None when none does."""
    tokens = longest(plan.request, plan.shape, card, surely_fits)
    return None if tokens is None else make_plan(with_length(plan.request, tokens), plan.shape, card)


def sizes_of(plan: Plan) -> tuple[int, int, int]:
    """Length, num_generations and batch of a plan's request."""
    run = plan.request
    return length_of(run), run.num_generations, run.per_device_train_batch_size


def longest(
    request: Request, shape: Shape, card: Card, is_good: Callable[[Plan], bool] = can_run, among: range | None = None
) -> int | None:
    """The largest length of `among` (default: `lengths`) whose plan `is_good`, all else as asked; None when none is."""
    values = lengths(request, shape) if among is None else among
    return last_that_works(values, lambda tokens: is_good(make_plan(with_length(request, tokens), shape, card)))


def last_that_works(values: Sequence[int], works: Callable[[int], bool]) -> int | None:
    """A value that works while the next larger one does not, as large as possible; None when none works.

    `values` ascend. They are halved from the end until one works, then the search goes on between that and the last
    tried. Those that work need not all come first: memory falls again where a length passes a threshold (Unsloth
    offloads checkpoints from 512 tokens on).
    """
    above = len(values)
    while above:
        tried = (above - 1) // 2 if above < len(values) else above - 1
        if works(values[tried]):
            return values[bisect_left(values, True, lo=tried + 1, hi=above, key=lambda value: not works(value)) - 1]
        above = tried
    return None
