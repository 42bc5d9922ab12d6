"""How a training process shares its card with vLLM: what each framework starts the engine with.

- Unsloth (`fast_inference`): one copy of the weights for both, and room for a LoRA adapter beside them. The engine
  loads first; its budget is a share of what is free then. Standby frees the cache during the update, and takes its
  share from a table of its own, whatever was asked for.
- TRL colocate: a second copy of the weights, in 4 bit where the training's are; adapters are merged into it. The engine
  loads second and refuses to start when its share of the whole card is no longer free.

Sources: TRL 1.15 (generation/vllm_generation.py), unsloth_zoo 2026.10.9 (vllm_utils.py), vLLM 0.31.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolkit.units import GIB, gib
from toolkit.vram.formula.rollout import kv_bytes_per_token

if TYPE_CHECKING:
    from toolkit.vram.request import Request
    from toolkit.vram.shapes import Shape

# Unsloth's standby: usable GiB of the card (at least) -> share of the card that vLLM gets
STANDBY_SHARES = ((40.0, 0.87875), (25.0, 0.855), (20.0, 0.78375), (14.0, 0.76), (10.0, 0.73625), (0.0, 0.7125))
# KV cache in GiB (at most) -> (max_num_batched_tokens, max_num_seqs) that Unsloth sets
SCHEDULES = (
    (2.0, (2048, 8)),
    (4.0, (2048, 16)),
    (8.0, (4096, 32)),
    (12.0, (4096, 48)),
    (16.0, (6144, 64)),
    (24.0, (6144, 80)),
    (40.0, (8192, 96)),
    (48.0, (8192, 112)),
    (80.0, (8192, 128)),
    (float("inf"), (8192, 256)),
)
TRL_BATCHED_TOKENS = 4096
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's kernels take; a rank is rounded up within them


@dataclass(frozen=True)
class Setup:
    """What the engine starts with, in bytes and tokens."""

    gpu_memory_utilization: float
    """In force, which with standby is not what was asked for."""
    budget: float
    """Bytes that vLLM may take."""
    weights: int
    """What of the budget goes to weights."""
    own_weights: int
    """What of them lies on the card beside the training's: 0 when they are shared."""
    lora: int
    """Slots for one adapter over all projections."""
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int
    """In force, which Unsloth may lower."""
    missing: int = 0
    """Bytes of the budget that are not free: above 0 it does not start."""


def with_unsloth(request: Request, shape: Shape, *, usable_gib: float, free_gib: float, weights: int) -> Setup:
    """Unsloth's engine, which shares `weights` bytes with the training. `free_gib` is free when it starts.

    It has slots for an adapter over all projections, in 16 bit and of the next larger rank that vLLM knows.
    """
    share = standby_share(usable_gib) if request.standby else request.gpu_memory_utilization
    length, rank = request.max_model_len, request.lora_rank
    n_lora = 0 if request.method == "full" else shape.lora_parameters(rank, tuple(shape.linears()))
    lora = int(2 * n_lora * lora_rank_in_vllm(rank) / rank)
    budget = min(share * free_gib, usable_gib - gib(activation_reserve(shape, length))) * GIB
    expected = unsloth_kv_bytes(shape, budget, weights, lora)
    batched, n_seqs = next(pair for ceiling, pair in SCHEDULES if gib(expected) <= ceiling)
    n_seqs = int(1.05 * n_seqs) if request.kv_cache_dtype == "fp8" else n_seqs
    batched = max(n_seqs, min(batched, n_seqs * length))
    longest = min(length, unsloth_longest(shape, expected, request.kv_cache_dtype))
    return Setup(share, budget, weights, 0, lora, batched, n_seqs, longest)


def with_trl(request: Request, *, usable_gib: float, free_gib: float, weights: int) -> Setup:
    """TRL's engine, which loads `weights` bytes of its own and runs one round of rollouts at once, if it can."""
    share = request.gpu_memory_utilization
    budget = share * usable_gib * GIB
    missing = max(0, int(budget - free_gib * GIB))
    sizes = (TRL_BATCHED_TOKENS, request.batch.generation_batch_size, request.max_model_len)
    return Setup(share, budget, weights, weights, 0, *sizes, missing)


def activation_reserve(shape: Shape, max_model_len: int) -> int:
    """Bytes that Unsloth always leaves to the training: 1.25 x its batch of 2 x one layer's widest tensors in 16 bit.

    `2.5 * [2 S (H + 2 K) + 4 S + 4 S I + I H]` bytes, S = max_model_len, K as if a head were H / heads wide.
    """
    s, h, i = max_model_len, shape.hidden, shape.intermediate
    k = h // shape.n_heads * shape.n_kv_heads
    return int(2.5 * (2 * s * (h + 2 * k) + 4 * s + 2 * s * 2 * i + i * h))


def unsloth_kv_bytes(shape: Shape, budget: float, weights: int, lora: int) -> float:
    """Bytes that Unsloth expects to be left for the KV cache, by which it chooses its schedule.

    It counts 4-bit weights at 5 bits and CUDA graphs at 172 x 4 H L bytes, between 0.15 and 1 GiB.
    """
    linear, everything = shape.linear_parameters(), shape.parameters()
    in_4bit = weights < 1.98 * everything  # 16-bit weights are exactly 2 bytes each
    expected = linear * (0.625 if in_4bit else 2.0) + 2 * (everything - linear)
    graphs = min(GIB, max(0.15 * GIB, 172 * shape.hidden * shape.n_layers * 4))
    return max(0.0, budget - expected - lora - graphs)


def unsloth_longest(shape: Shape, kv_bytes: float, kv_cache_dtype: str) -> int:
    """Tokens to which Unsloth shortens max_seq_length: 95 % of its estimate in steps of 256, at least 256.

    It counts fp8 at 1.25 bytes an element.
    """
    per_token = kv_bytes_per_token(shape) * (0.625 if kv_cache_dtype == "fp8" else 1.0)
    return max(256, int(0.95 * kv_bytes / per_token) // 256 * 256)


def lora_rank_in_vllm(rank: int) -> int:
    """The rank that vLLM reserves room for."""
    return next((r for r in LORA_RANKS if r >= rank), rank)


def standby_share(usable_gib: float) -> float:
    """Share of the card that Unsloth's standby gives vLLM, by the card's usable memory in GiB."""
    return next(share for floor, share in STANDBY_SHARES if usable_gib >= floor)
