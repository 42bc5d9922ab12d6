"""The nearest settings that fit: as little as possible of what costs most is given up.

`ladder` lists what can be given up, the cheapest first: what leaves every number as it is, then what costs only time,
then what the model may learn from. The search starts with all of it given up and takes it back, the dearest first and
each as far as the plan still runs. So nothing is changed that need not be, and no length is cut further than needed.

Not on the ladder: num_generations, which takes no memory while vLLM samples; paged_adamw_8bit, which is planned as if
nothing had left the card; kv_cache_dtype fp8, which makes room in vLLM's share and not beside it.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toolkit.vram.cards import Card
from toolkit.vram.plan import Plan, make_plan
from toolkit.vram.request import Request
from toolkit.vram.search.scaling import LENGTH_STEP, length_name
from toolkit.vram.shapes import Shape
from toolkit.vram.verdict import can_run

MIN_LENGTH = 128  # tokens of a completion, or of a sequence in SFT, below which nothing is suggested
MIN_RANK = 16  # reinforcement learning is served by low ranks: Schulman et al., "LoRA Without Regret", 2025
SHARES = [round(0.05 * k, 2) for k in range(4, 20)]  # of gpu_memory_utilization, 0.2 to 0.95


@dataclass(frozen=True)
class Change:
    """Flags with their new values, and what they save at the peak in GiB on top of the changes before them.

    `saves_gib` is negative for a change that gives memory to vLLM's cache because it could not hold one sequence.
    """

    settings: dict[str, Any]
    saves_gib: float

    def __str__(self) -> str:
        return " ".join(f"--{flag}{_spelled(value)}" for flag, value in self.settings.items())


@dataclass(frozen=True)
class Rung:
    """One thing to give up: the values it may take instead, the mildest first, each a mapping of flags."""

    values: Sequence[dict[str, Any]]
    may_harm: bool = False
    """It may also take memory, so both with it and without it the search is made."""
    is_window: bool = False
    """Any of the values may be the right one: less of it is not always better."""


def nearest_that_fits(request: Request, shape: Shape, card: Card) -> tuple[Plan, list[Change]] | None:
    """The plan that runs (`can_run`) and the changes that lead to it, the cheapest first; None when there is none.

    No single change can be taken back. An empty list says that the request itself runs.
    """
    plan = make_plan(request, shape, card)
    if can_run(plan):
        return plan, []
    search = _Search(request, shape, card, ladder(request, card))
    found = [levels for start in search.starts() if (levels := search.take_back(start))]
    if not found:
        return None
    least = min(found, key=lambda levels: levels[::-1])  # the dearest rung decides
    changes = []
    for settings in search.lengthened(search.values(least)):
        changed = {flag: value for flag, value in settings.items() if getattr(plan.request, flag) != value}
        moved = make_plan(replace(plan.request, **changed), shape, card)
        changes.append(Change(changed, plan.peak_process_gib - moved.peak_process_gib))
        plan = moved
    return plan, changes


def ladder(request: Request, card: Card) -> list[Rung]:
    """What can be given up for this request, the cheapest first."""
    return [rung for rung in (*_free(request), *_time(request), *_learning(request, card)) if rung.values]


def _free(r: Request) -> list[Rung]:
    """What leaves the run as it is, up to rounding: other kernels, and other types for what is not trained."""
    head = "unsloth" if r.framework == "unsloth" else "chunked"
    return [
        _one(r.attention == "eager", attention="sdpa"),
        _one(r.head == "logits", loss_head=head),
        _one(not r.bnb_4bit_use_double_quant, bnb_4bit_use_double_quant=True),
        _one(r.upcast_embeddings, upcast_embeddings=False),
        _one(r.optim == "adamw_torch", optim="adamw_8bit"),
    ]


def _time(r: Request) -> list[Rung]:
    """What costs seconds a step: cache freed and filled, layers computed twice, smaller passes, fewer rollouts at once.

    Standby has a share of its own, which on a small card may be too large: so it may also be given up.
    """
    has_engine = r.task == "grpo" and r.generation == "vllm"
    deepest = "unsloth" if r.framework == "unsloth" else "hf"
    size = r.per_device_train_batch_size
    near = sorted(SHARES, key=lambda share: (abs(share - r.gpu_memory_utilization), share))
    shares = [{"gpu_memory_utilization": share} for share in near if share != r.gpu_memory_utilization]
    return [
        replace(_one(has_engine, standby=not r.standby), may_harm=True),
        _one(r.checkpointing not in (deepest, "unsloth"), gradient_checkpointing=deepest),
        Rung([_cut(r, parts) for parts in range(2, size + 1) if size % parts == 0]),
        Rung(shares if has_engine else [], is_window=True),
    ]


def _learning(r: Request, card: Card) -> list[Rung]:
    """What the model may learn, or from what. At the far end a step takes hours, or prompts are dropped."""
    ranks = [2**k for k in range(r.lora_rank.bit_length(), -1, -1) if MIN_RANK <= 2**k < r.lora_rank]
    half_precision = "fp16" if card.compute_capability and card.bf16_tflops is None else "bf16"
    name = length_name(r)
    shorter = _shorter(getattr(r, name), MIN_LENGTH)
    half = getattr(r, name) / 2
    full = r.method == "full"
    prompts = _shorter(r.max_prompt_length, r.max_prompt_length // 2) if r.task == "grpo" else []
    return [
        Rung([{"lora_rank": rank} for rank in ranks]),
        _one(r.dtype == "fp32", dtype=half_precision),
        _one(r.method == "lora", method="qlora"),
        Rung([{name: tokens} for tokens in shorter if tokens >= half]),
        _one(r.beta > 0, beta=0.0),
        Rung([{"method": "lora"}, {"method": "qlora"}] if full else []),
        replace(_one(r.task == "grpo" and r.generation == "vllm", generation="hf", standby=False), may_harm=True),
        Rung([{name: tokens} for tokens in shorter if tokens < half]),
        Rung([{"max_prompt_length": tokens} for tokens in prompts]),
    ]


def _one(is_possible: bool, **settings: Any) -> Rung:
    return Rung([settings] if is_possible else [])


def _cut(r: Request, parts: int) -> dict[str, Any]:
    """The same round of rollouts and the same optimizer step, in `parts` times as many forward passes."""
    settings = {
        "per_device_train_batch_size": r.per_device_train_batch_size // parts,
        "gradient_accumulation_steps": r.gradient_accumulation_steps * parts,
    }
    if r.steps_per_generation is not None:
        settings["steps_per_generation"] = r.steps_per_generation * parts
    return settings


def _shorter(tokens: int, least: int) -> range:
    """Multiples of 64 below `tokens`, down to `least`."""
    return range((tokens - 1) // LENGTH_STEP * LENGTH_STEP, max(least, LENGTH_STEP) - 1, -LENGTH_STEP)


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "" if value else " false"
    return f" {value}"


@dataclass(frozen=True)
class _Search:
    """Levels say how far each rung is climbed: 0 leaves it as asked, n takes its n-th value."""

    request: Request
    shape: Shape
    card: Card
    rungs: Sequence[Rung]
    known: dict[Request, bool] = field(default_factory=dict)
    """Verdicts so far: the rounds of a search meet the same runs again."""

    def starts(self) -> list[list[int]]:
        """Everything given up, with and without what may harm."""
        tops = [(0, len(rung.values)) if rung.may_harm else (len(rung.values),) for rung in self.rungs]
        return [list(levels) for levels in itertools.product(*tops)]

    def values(self, levels: Sequence[int]) -> list[dict[str, Any]]:
        """The settings of every rung that is climbed, the cheapest first."""
        return [rung.values[level - 1] for rung, level in zip(self.rungs, levels, strict=True) if level]

    def take_back(self, levels: list[int]) -> list[int] | None:
        """Climb down from `levels` as far as it still runs, the dearest rung first; None when they do not run."""
        if not self._runs(levels, len(levels)):
            return None
        while True:
            before = levels
            for i in reversed(range(len(levels))):
                levels = _with(levels, i, self._lowest(levels, i))
            if levels == before:  # a second round for what is not monotone: vLLM's ranks, the window
                return levels

    def _lowest(self, levels: list[int], i: int) -> int:
        def runs(level: int) -> bool:
            return self._runs(_with(levels, i, level), i)

        if self.rungs[i].is_window:
            return next(level for level in range(levels[i] + 1) if runs(level))
        return 0 if runs(0) else bisect_left(range(levels[i]), True, lo=1, key=runs)

    def _runs(self, levels: list[int], i: int) -> bool:
        """Whether it runs, with any value of a window that is cheaper than rung `i` and so not yet settled."""
        windows = [w for w in range(i) if self.rungs[w].is_window]
        reach = [range(level + 1) if w in windows else (level,) for w, level in enumerate(levels)]
        return any(self._runs_at(tried) for tried in itertools.product(*reach))

    def lengthened(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same settings with a cut length as long as still runs.

        A length has two rungs, and what was given up for the lower one may have been taken back since.
        """
        name = length_name(self.request)
        rungs = [i for i, part in enumerate(parts) if name in part]
        if not rungs:
            return parts
        asked, tokens = getattr(self.request, name), parts[rungs[-1]][name]
        kept = [part for part in parts if name not in part]
        place = rungs[-1] - len(rungs) + 1

        def with_tokens(tokens: int) -> list[dict[str, Any]]:
            return [*kept[:place], {name: tokens}, *kept[place:]] if tokens < asked else kept

        while tokens < asked and self._runs_with(with_tokens(longer := min(asked, tokens + LENGTH_STEP))):
            tokens = longer
        return with_tokens(tokens)

    def _runs_at(self, levels: Sequence[int]) -> bool:
        return self._runs_with(self.values(levels))

    def _runs_with(self, parts: list[dict[str, Any]]) -> bool:
        settings = {flag: value for part in parts for flag, value in part.items()}
        run = replace(self.request, **settings)
        if run.generation == "hf" or (run.standby and run.framework == "unsloth"):  # where the share has no effect
            run = replace(run, gpu_memory_utilization=self.request.gpu_memory_utilization)
        if run not in self.known:
            self.known[run] = can_run(make_plan(run, self.shape, self.card))
        return self.known[run]


def _with(levels: list[int], i: int, level: int) -> list[int]:
    return [*levels[:i], level, *levels[i + 1 :]]
