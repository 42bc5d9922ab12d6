"""What vLLM takes of the card when it rolls out in the training process, and how many tokens its KV cache then holds.

Two ways to share a card:
- Unsloth (`fast_inference`): one copy of the weights for both. The engine's budget is a share of the free memory,
  capped so that a forward pass still fits beside it; the KV cache gets what weights, LoRA slots and an allowance for
  CUDA graphs leave of it. Standby frees the cache during the update and then takes its share from a table of its own,
  whatever was asked for.
- TRL colocate: a second, unquantised copy of the weights inside `gpu_memory_utilization` of the whole card; vLLM's
  own profiling run keeps an activation reserve out of the KV cache.

Figures of Unsloth's arithmetic: unsloth_zoo 2026.10.9, vllm_utils.py. CUDA graphs lie outside the utilisation figure;
measured on an RTX 4090: 2.28 GiB (unsloth#3542) and 2.41 GiB (vllm#7553), where Unsloth's own estimate says at most 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from toolkit.units import GIB

if TYPE_CHECKING:
    from toolkit.vram.shapes import Shape

KvDtype = Literal["auto", "fp8"]

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
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's kernels take; a rank is rounded up within them
KV_SAFETY = 0.95  # Unsloth's own margin on the token count
KV_BLOCK_TOKENS = 256


@dataclass(frozen=True)
class Engine:
    """vLLM's share of the card, in bytes, and what fits into its KV cache."""

    weights: int
    """0 when the training weights are shared."""
    lora: int
    reserve: int
    """Kept out of the KV cache: Unsloth's allowance for CUDA graphs, or vLLM's profiled activations."""
    kv_cache: int
    """0 when nothing is left."""
    cuda_graphs: int
    kv_tokens: int
    """Tokens that the KV cache holds."""
    max_num_seqs: int
    gpu_memory_utilization: float
    """In force, which with standby is not what was asked for."""

    @property
    def total(self) -> int:
        """Bytes on the card while it rolls out, beside shared weights; the graphs come on top of its share."""
        return self.weights + self.lora + self.reserve + self.kv_cache + self.cuda_graphs

    def n_concurrent(self, tokens: int) -> int:
        """How many sequences of `tokens` run at once: by the cache, and by the scheduler's limit."""
        return min(self.max_num_seqs, self.kv_tokens // max(1, tokens))


def kv_bytes_per_token(shape: Shape, kv_cache_dtype: KvDtype = "auto") -> float:
    """Keys and values of one token in all layers: two bytes an element, or 1.25 for fp8 with its scales."""
    elements = 2 * shape.n_layers * shape.kv_dim
    return elements * (1.25 if kv_cache_dtype == "fp8" else 2.0)


def activation_reserve(shape: Shape, max_model_len: int, batch: int = 2) -> int:
    """Unsloth's reserve for the engine's forward pass: 1.25 x batch x the widest of one layer's tensors in 16 bit.

    `2.5 * [2 S (H + 2 K) + 4 S + 4 S I + I H]` bytes at its batch of 2, S = max_model_len.
    """
    s, h, k, i = max_model_len, shape.hidden, shape.kv_dim, shape.intermediate
    return int(1.25 * batch * (2 * s * (h + 2 * k) + 4 * s + 2 * s * 2 * i + i * h))


def graph_allowance(shape: Shape) -> int:
    """What Unsloth subtracts for CUDA graphs: 172 graphs x 4 H L bytes, between 0.15 and 1 GiB."""
    return int(min(GIB, max(0.15 * GIB, 172 * shape.hidden * shape.n_layers * 4)))


def lora_rank_in_vllm(rank: int) -> int:
    """The rank that vLLM reserves room for."""
    return next((r for r in LORA_RANKS if r >= rank), rank)


def standby_share(usable_gib: float) -> float:
    """Share of the card that Unsloth's standby gives vLLM, by the card's usable memory in GiB."""
    return next(share for floor, share in STANDBY_SHARES if usable_gib >= floor)


def schedule(kv_gib: float) -> tuple[int, int]:
    """(max_num_batched_tokens, max_num_seqs) that Unsloth chooses for a KV cache of so many GiB."""
    return next(pair for ceiling, pair in SCHEDULES if kv_gib <= ceiling)


def tokens_in(kv_cache: float, shape: Shape, kv_cache_dtype: KvDtype = "auto") -> int:
    """Tokens that a KV cache of so many bytes holds: 95 % of it, in whole steps of 256."""
    tokens = KV_SAFETY * max(0.0, kv_cache) / kv_bytes_per_token(shape, kv_cache_dtype)
    return int(tokens // KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS


def plan_engine(
    shape: Shape,
    *,
    usable_gib: float,
    free_gib: float,
    gpu_memory_utilization: float,
    standby: bool,
    shared_weights: int | None,
    max_model_len: int,
    lora_rank: int,
    lora_bytes: int,
    kv_cache_dtype: KvDtype = "auto",
    cuda_graphs_gib: float = 2.4,
) -> Engine:
    """Divide vLLM's share of the card.

    `free_gib` is what is free when the engine starts. `shared_weights` is the size in bytes of the weights that engine
    and training share (Unsloth), or None for TRL colocate, where the engine loads 16-bit weights of its own.
    `lora_bytes` is the adapter's size in 16 bit at `lora_rank`; vLLM reserves its next larger rank.
    """
    share = standby_share(usable_gib) if standby else gpu_memory_utilization
    activations = activation_reserve(shape, max_model_len)
    lora = int(lora_bytes * lora_rank_in_vllm(lora_rank) / lora_rank)
    if shared_weights is not None:
        own_weights, weights, reserve = 0, shared_weights, graph_allowance(shape)
        budget = min(share * free_gib * GIB, usable_gib * GIB - activations)
    else:
        own_weights = weights = 2 * shape.parameters()
        budget, reserve = share * usable_gib * GIB, activations
    kv_cache = max(0, int(budget - weights - lora - reserve))
    return Engine(
        weights=own_weights,
        lora=lora,
        reserve=reserve,
        kv_cache=kv_cache,
        cuda_graphs=int(cuda_graphs_gib * GIB),
        kv_tokens=tokens_in(kv_cache, shape, kv_cache_dtype),
        max_num_seqs=schedule(kv_cache / GIB)[1],
        gpu_memory_utilization=share,
    )
