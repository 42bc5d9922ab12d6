"""Other lengths, batches and groups of a run: one size at a time or all together, and how far each can grow on a card.

A round of rollouts still consists of whole groups.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from toolkit.errors import SettingsError
from toolkit.vram.cards import Card
from toolkit.vram.plan import Plan, can_run, make_plan, surely_fits
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape

LENGTH_STEP = 64  # tokens; lengths are searched in multiples of it
MAX_BATCH, MAX_GENERATIONS = 2**16, 2**12  # what the recipes take
SHORTEST = 256  # tokens; of all sizes together nothing shorter is offered, unless it was asked for


@dataclass(frozen=True)
class Size:
    """A size of a run, and the values that are searched, ascending."""

    name: str
    values: Sequence[int]


@dataclass(frozen=True)
class Limit:
    """How large one size can get with the others as asked."""

    size: Size
    asked: int
    fits: Plan | None
    """The plan at the largest value that runs; None when not even the smallest does."""
    surely_fits: Plan | None
    """The same where the upper end of the plan's interval fits, too."""


def sizes(request: Request, shape: Shape) -> list[Size]:
    """What can grow: the length, the batch, and in GRPO the group, with the batch."""
    found = [
        Size(request.length_name, lengths(request, shape)),
        Size("per_device_train_batch_size", batches(request)),
    ]
    if request.task == "grpo":
        found.append(Size("num_generations", generations(request)))
    return found


def longest_possible(request: Request, shape: Shape) -> int:
    """Tokens that the model's positions leave for `Request.length`; a SettingsError where that is below 64."""
    prompt = 0 if request.task == "sft" else request.max_prompt_length
    room = shape.max_position_embeddings - prompt
    if room < LENGTH_STEP:
        raise SettingsError(
            f"--max_prompt_length {prompt} leaves {max(0, room)} of the {shape.max_position_embeddings} positions of "
            f"{shape.name}",
            f"at least {LENGTH_STEP} for the completion",
            f"at most --max_prompt_length {shape.max_position_embeddings - LENGTH_STEP}",
        )
    return room


def lengths(request: Request, shape: Shape) -> range:
    """All lengths that are searched: multiples of 64 within the model's positions."""
    return range(LENGTH_STEP, longest_possible(request, shape) + 1, LENGTH_STEP)


def batches(request: Request) -> range:
    """Every per_device_train_batch_size that makes whole groups with the other settings as they are."""
    if request.task == "sft":
        return range(1, MAX_BATCH + 1)
    unit = request.num_generations // math.gcd(request.num_generations, request.batch.steps_per_generation)
    return range(unit, MAX_BATCH + 1, unit)


def generations(request: Request) -> range:
    """Every num_generations that leaves a forward pass the same share of a group; see `with_num_generations`."""
    unit = request.num_generations // math.gcd(request.num_generations, request.per_device_train_batch_size)
    return range(unit if unit > 1 else 2, MAX_GENERATIONS + 1, unit)


def with_size(request: Request, name: str, value: int) -> Request:
    """The request with another length, batch or group, in whole groups."""
    return with_num_generations(request, value) if name == "num_generations" else replace(request, **{name: value})


def with_num_generations(request: Request, n: int) -> Request:
    """The same run with groups of `n`: as many prompts a round, and as large a share of a group in a forward pass.

    So per_device_train_batch_size follows num_generations. Where the share is not a whole number of completions, the
    pass takes the next smaller number that divides the round, and the number of passes changes.
    """
    share = request.per_device_train_batch_size * n // request.num_generations
    completions = request.batch.generation_batch_size * n // request.num_generations
    batch = next(size for size in range(max(1, share), 0, -1) if completions % size == 0)
    moved = replace(request, num_generations=n, per_device_train_batch_size=batch)
    before, after = request.batch.steps_per_generation, completions // batch
    if before == after:
        return moved
    if request.steps_per_generation is None:
        return replace(moved, gradient_accumulation_steps=after)
    steps = max(1, request.gradient_accumulation_steps * after // before)
    return replace(moved, steps_per_generation=after, gradient_accumulation_steps=steps)


def limit_of(size: Size, request: Request, shape: Shape, card: Card) -> Limit:
    """The largest value of one size that runs, and the largest that surely fits; the next larger one does not."""

    def plan_at(value: int) -> Plan:
        return make_plan(with_size(request, size.name, value), shape, card)

    def best(is_good: Callable[[Plan], bool]) -> Plan | None:
        value = last_that_works(size.values, lambda value: is_good(plan_at(value)))
        return None if value is None else plan_at(value)

    return Limit(size, getattr(request, size.name), best(can_run), best(surely_fits))


def candidates(request: Request, shape: Shape, card: Card) -> Iterator[Plan]:
    """The longest run for each batch and group, with as many passes and at least as many prompts a round as asked.

    Batches are powers of two, three times those, and the one asked for, up to the first with which no group runs.
    """
    shortest = min(SHORTEST, request.length)
    among = lengths(request, shape)[max(0, shortest // LENGTH_STEP - 1) :]
    usual = {size for k in range(MAX_BATCH.bit_length()) for size in (2**k, 3 * 2**k) if size <= MAX_BATCH}
    for batch in sorted(usual | {request.per_device_train_batch_size}):
        runs = [replace(request, per_device_train_batch_size=batch, num_generations=n) for n in groups(request, batch)]
        found = [(run, longest(run, shape, card, among=among)) for run in runs]
        if runs and all(tokens is None for _, tokens in found):
            return
        yield from (make_plan(run.with_length(tokens), shape, card) for run, tokens in found if tokens is not None)


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
    return None if tokens is None else make_plan(plan.request.with_length(tokens), plan.shape, card)


def sizes_of(plan: Plan) -> tuple[int, int, int]:
    """Length, num_generations and batch of a plan's request."""
    run = plan.request
    return run.length, run.num_generations, run.per_device_train_batch_size


def longest(
    request: Request, shape: Shape, card: Card, is_good: Callable[[Plan], bool] = can_run, among: range | None = None
) -> int | None:
    """The largest length of `among` (default: `lengths`) whose plan `is_good`, all else as asked; None when none is."""
    values = lengths(request, shape) if among is None else among
    return last_that_works(values, lambda tokens: is_good(make_plan(request.with_length(tokens), shape, card)))


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
