"""A request with another length, batch or group, so that a round of rollouts still consists of whole groups."""

from __future__ import annotations

import math
from dataclasses import replace

from toolkit.errors import SettingsError
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape

LENGTH_STEP = 64  # tokens; lengths are searched in multiples of it
MAX_BATCH, MAX_GENERATIONS = 2**16, 2**12  # what the recipes take


def length_name(request: Request) -> str:
    """The flag that sets how long a sequence gets: max_completion_length, or max_seq_length in SFT."""
    return "max_seq_length" if request.task == "sft" else "max_completion_length"


def length_of(request: Request) -> int:
    """The value of `length_name`, in tokens."""
    return getattr(request, length_name(request))


def with_length(request: Request, tokens: int) -> Request:
    """The request with another `length_name`."""
    return replace(request, **{length_name(request): tokens})


def longest_possible(request: Request, shape: Shape) -> int:
    """Tokens that the model's positions leave for `length_name`.

    Raises:
        SettingsError: fewer than `LENGTH_STEP`.
    """
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
