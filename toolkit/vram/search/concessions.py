"""What a run can give up to fit its card, the cheapest first.

First what leaves every number as it is, then what costs only time, then what the model may learn from.

Not among them: num_generations, which takes no memory while vLLM samples; paged_adamw_8bit, which is planned as if
nothing had left the card; kv_cache_dtype fp8, which makes room in vLLM's share and not beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.vram.cards import Card
from toolkit.vram.request import Request
from toolkit.vram.search.growth import LENGTH_STEP

MIN_LENGTH = 128  # tokens of a completion, or of a sequence in SFT, below which nothing is suggested
MIN_RANK = 16  # reinforcement learning is served by low ranks: Schulman et al., "LoRA Without Regret", 2025
SHARES = [round(0.05 * k, 2) for k in range(4, 20)]  # of gpu_memory_utilization, 0.2 to 0.95


@dataclass(frozen=True)
class Concession:
    """One thing to give up: the values that it may take instead, the mildest first, each a mapping of flags."""

    values: Sequence[dict[str, Any]]
    may_harm: bool = False
    """It may also take memory, so the search is made both with and without it."""
    is_ordered: bool = True
    """Each value takes no more memory than those before it. Else any of them may be the right one."""


def concessions(request: Request, card: Card) -> list[Concession]:
    """What this request can give up."""
    found = (*_free(request), *_time(request), *_learning(request, card))
    return [concession for concession in found if concession.values]


def _free(r: Request) -> list[Concession]:
    """What changes nothing but rounding: other kernels, and other types for what is not trained."""
    head = "unsloth" if r.framework == "unsloth" else "chunked"
    return [
        _one(r.attention == "eager", attention="sdpa"),
        _one(r.head == "logits", loss_head=head),
        _one(not r.bnb_4bit_use_double_quant, bnb_4bit_use_double_quant=True),
        _one(r.upcast_embeddings, upcast_embeddings=False),
        _one(r.optim == "adamw_torch", optim="adamw_8bit"),
    ]


def _time(r: Request) -> list[Concession]:
    """What costs seconds a step: cache freed and filled, layers computed twice, smaller passes, fewer rollouts at once.

    Standby sets vLLM's share itself, which may be too large for a small card, so standby may be given up as well.
    """
    deepest = "unsloth" if r.framework == "unsloth" else "hf"
    size = r.per_device_train_batch_size
    near = sorted(SHARES, key=lambda share: (abs(share - r.gpu_memory_utilization), share))
    shares = [{"gpu_memory_utilization": share} for share in near if share != r.gpu_memory_utilization]
    return [
        replace(_one(r.rolls_out_with_vllm, standby=not r.standby), may_harm=True),
        _one(r.checkpointing not in (deepest, "unsloth"), gradient_checkpointing=deepest),
        Concession([_in_parts(r, parts) for parts in range(2, size + 1) if size % parts == 0]),
        Concession(shares if r.rolls_out_with_vllm else [], is_ordered=False),
    ]


def _learning(r: Request, card: Card) -> list[Concession]:
    """What the model can learn, or from what. With the last of these a step takes hours, or prompts are dropped."""
    ranks = [2**k for k in range(r.lora_rank.bit_length(), -1, -1) if MIN_RANK <= 2**k < r.lora_rank]
    half_precision = "fp16" if card.compute_capability and card.bf16_tflops is None else "bf16"
    name = r.length_name
    shorter = _shorter(r.length, MIN_LENGTH)
    half = r.length / 2
    full = r.method == "full"
    prompts = _shorter(r.max_prompt_length, r.max_prompt_length // 2) if r.task == "grpo" else []
    return [
        Concession([{"lora_rank": rank} for rank in ranks]),
        _one(r.dtype == "fp32", dtype=half_precision),
        _one(r.method == "lora", method="qlora"),
        Concession([{name: tokens} for tokens in shorter if tokens >= half]),
        _one(r.beta > 0, beta=0.0),
        Concession([{"method": "lora"}, {"method": "qlora"}] if full else []),
        replace(_one(r.rolls_out_with_vllm, generation="hf", standby=False), may_harm=True),
        Concession([{name: tokens} for tokens in shorter if tokens < half]),
        Concession([{"max_prompt_length": tokens} for tokens in prompts]),
    ]


def _one(is_possible: bool, **settings: Any) -> Concession:
    return Concession([settings] if is_possible else [])


def _in_parts(r: Request, parts: int) -> dict[str, Any]:
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
