"""What vLLM takes of the card when it rolls out in the training process, and what its KV cache then holds.

Two ways to share a card:
- Unsloth (`fast_inference`): one copy of the weights for both, and room for a LoRA adapter beside them. The engine
  loads first; its budget is a share of what is free then. Standby frees the cache during the update, and takes its
  share from a table of its own, whatever was asked for.
- TRL colocate: a second copy of the weights, in 4 bit where the training's are; adapters are merged into it. The engine
  loads second and refuses to start when its share of the whole card is no longer free.

Either way vLLM profiles one forward pass and its CUDA graphs, and gives the rest of its share to the KV cache.
Sources: vLLM 0.31 (v1/worker/gpu_worker.py, v1/kv_cache_interface.py), TRL 1.15 (generation/vllm_generation.py),
unsloth_zoo 2026.10.9 (vllm_utils.py); against what runs printed: tests/golden/vllm_logs.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from toolkit.units import GIB, format_gib, gib

if TYPE_CHECKING:
    from toolkit.vram.cards import Card
    from toolkit.vram.request import Request
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
TRL_BATCHED_TOKENS = 4096
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's kernels take; a rank is rounded up within them
BLOCK_TOKENS = 16  # vLLM hands out the KV cache in blocks of so many tokens
SAMPLER_BYTES = 18  # for each entry of the vocabulary and sequence
STEPS_IN_FLIGHT = 2  # asynchronous scheduling: a window's old blocks are freed so many steps late
GRAPHS_MEASURED = 106  # captured graphs of the engine whose memory constants.toml gives: 67 sizes, and 39 for decoding
GRAPHS_LAYERS = 36  # its layers
GRAPHS_WITHOUT_LORA = 0.4  # 0.73 GiB for 86 graphs against 2.28 for 106 (vllm#39559, unsloth#3542)
GRAPHS_BOTH_WAYS = 1.47  # since vLLM 0.11.1 with LoRA each is captured without it, too: 1.62 to 2.38 GiB (vllm#25914)


@dataclass(frozen=True)
class KvLayout:
    """Bytes of keys and values in the cache."""

    full: float
    """For each token in all layers that look at everything."""
    sliding: float
    """The same in layers with a window, which keep only its tokens."""
    window: int
    """Tokens of the window; 0 without one."""

    def sequence_bytes(self, tokens: int, in_flight: int = 0) -> float:
        """What one sequence of `tokens` takes, in whole blocks; `in_flight` tokens are kept beyond a window."""
        kept = _blocks(tokens)
        held = min(kept, _blocks(self.window - 1 + in_flight) + 1)
        return BLOCK_TOKENS * (self.full * kept + self.sliding * held)


@dataclass(frozen=True)
class Engine:
    """vLLM's share of the card, in bytes, and what fits into its KV cache."""

    weights: int
    """0 when the training weights are shared."""
    lora: int
    """Slots for one adapter over all projections."""
    reserve: int
    """The profiled forward pass, which the KV cache leaves free: torch's to use outside the rollout."""
    kv_cache: int
    """0 when nothing is left."""
    cuda_graphs: int
    kv_tokens: int
    """Tokens that the KV cache holds in sequences of the longest length, as vLLM prints it."""
    longest: int
    """max_model_len in force, which Unsloth may cut; 0 where the cache cannot hold one: then vLLM does not start."""
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    """In force, which with standby is not what was asked for."""
    layout: KvLayout
    short: int = 0
    """Bytes of its share that are not free when it starts; above 0 it refuses to."""

    @property
    def total(self) -> int:
        """Bytes on the card while it rolls out, beside shared weights."""
        return self.weights + self.lora + self.reserve + self.kv_cache + self.cuda_graphs

    def n_concurrent(self, tokens: int) -> int:
        """How many sequences of `tokens` run at once: by the cache, and by the scheduler's limit."""
        in_flight = STEPS_IN_FLIGHT * self.max_num_batched_tokens
        return min(self.max_num_seqs, int(self.kv_cache // self.layout.sequence_bytes(max(1, tokens), in_flight)))

    def as_json(self) -> dict[str, float]:
        """What a person asks of it; `max_model_len` is 0 where it does not start."""
        return {
            "kv_tokens": self.kv_tokens,
            "max_concurrent_sequences": self.n_concurrent(self.longest) if self.longest else 0,
            "max_model_len": self.longest,
            "max_num_seqs": self.max_num_seqs,
            "gpu_memory_utilization": self.gpu_memory_utilization,
        }


def kv_layout(shape: Shape, kv_cache_dtype: KvDtype = "auto") -> KvLayout:
    """Two elements of kv_dim a token and layer: 2 bytes each, or 1 in fp8, whose scales are one number a tensor."""
    a_layer = 2 * shape.kv_dim * (1 if kv_cache_dtype == "fp8" else 2)
    n_sliding = shape.n_sliding_layers if shape.sliding_window else 0
    return KvLayout(a_layer * (shape.n_layers - n_sliding), a_layer * n_sliding, shape.sliding_window or 0)


def kv_bytes_per_token(shape: Shape, kv_cache_dtype: KvDtype = "auto") -> float:
    """Keys and values of one token in all layers, inside any window."""
    layout = kv_layout(shape, kv_cache_dtype)
    return layout.full + layout.sliding


def profiled_bytes(shape: Shape, batched_tokens: int, max_num_seqs: int) -> int:
    """What vLLM's profiling run keeps out of the KV cache: a forward pass over the largest batch, or its sampler.

    T (6 I + 7 H) bytes for T tokens, and 0.16 GiB beside torch: read off Unsloth's table of profiling runs
    (unsloth_zoo, load_vllm; by its weights Qwen3-4B with rank 16), within 0.03 GiB. Sampling takes 18 V a sequence:
    16-bit logits and four copies in float32 (v1/sample/sampler.py); older engines sorted them and took 38.
    Vision towers are not in it.
    """
    forward = batched_tokens * (6 * shape.intermediate + 7 * shape.hidden)
    return int(max(forward, SAMPLER_BYTES * shape.vocab * max_num_seqs) + 0.16 * GIB)


def graph_bytes(shape: Shape, max_num_seqs: int, measured_gib: float, *, lora: bool) -> int:
    """CUDA graphs: `measured_gib` for GRAPHS_MEASURED of them in GRAPHS_LAYERS layers with LoRA, scaled by both.

    One for every batch size up to twice max_num_seqs, and a second kind for decoding up to max_num_seqs.
    """
    n = _capture_sizes(min(512, 2 * max_num_seqs)) + _capture_sizes(min(512, max_num_seqs))
    kind = GRAPHS_BOTH_WAYS if lora else GRAPHS_WITHOUT_LORA
    return int(measured_gib * GIB * kind * n / GRAPHS_MEASURED * shape.n_layers / GRAPHS_LAYERS)


def _capture_sizes(largest: int) -> int:
    """How many batch sizes vLLM captures: 1, 2, 4, then every 8th up to 256, then every 16th."""
    small = sum(size <= largest for size in (1, 2, 4))
    return small + min(largest, 255) // 8 + max(0, (largest - 240) // 16)


def activation_reserve(shape: Shape, max_model_len: int, batch: int = 2) -> int:
    """What Unsloth's share always leaves of the card: 1.25 x batch x one layer's widest tensors in 16 bit.

    `2.5 * [2 S (H + 2 K) + 4 S + 4 S I + I H]` bytes at its batch of 2, S = max_model_len, K as if a head were H /
    heads wide.
    """
    s, h, i = max_model_len, shape.hidden, shape.intermediate
    k = h // shape.n_heads * shape.n_kv_heads
    return int(1.25 * batch * (2 * s * (h + 2 * k) + 4 * s + 2 * s * 2 * i + i * h))


def unsloth_kv_bytes(shape: Shape, budget: float, weights: int, lora: int) -> float:
    """What Unsloth expects to be left for the KV cache, by which it chooses its schedule.

    It counts 4-bit weights at 5 bits and CUDA graphs at 172 x 4 H L bytes, between 0.15 and 1 GiB.
    """
    linear, everything = shape.linear_parameters(), shape.parameters()
    in_4bit = weights < 1.98 * everything  # 16-bit weights are exactly 2 bytes each
    expected = linear * (0.625 if in_4bit else 2.0) + 2 * (everything - linear)
    graphs = min(GIB, max(0.15 * GIB, 172 * shape.hidden * shape.n_layers * 4))
    return max(0.0, budget - expected - lora - graphs)


def unsloth_longest(shape: Shape, kv_bytes: float, kv_cache_dtype: KvDtype = "auto") -> int:
    """Tokens above which Unsloth cuts max_seq_length: 95 % of its estimate in steps of 256, at least 256.

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


def schedule(kv_gib: float) -> tuple[int, int]:
    """(max_num_batched_tokens, max_num_seqs) that Unsloth chooses for a KV cache of so many GiB."""
    return next(pair for ceiling, pair in SCHEDULES if kv_gib <= ceiling)


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
    own_weights: int | None = None,
    generation_batch_size: int = 256,
    kv_cache_dtype: KvDtype = "auto",
    cuda_graphs_gib: float = 2.4,
) -> Engine:
    """Divide vLLM's share of the card.

    `free_gib` is what is free when the engine starts. `shared_weights` is the size in bytes of the weights that engine
    and training share (Unsloth), or None for TRL colocate, where the engine loads `own_weights` bytes (None: 16 bit)
    and runs at most `generation_batch_size` sequences at once, those of one round. `lora_bytes` is the size in 16 bit
    of an adapter over all projections at `lora_rank`; vLLM reserves its next larger rank, and TRL none. `standby` is
    Unsloth's.
    """
    share = standby_share(usable_gib) if standby else gpu_memory_utilization
    if shared_weights is not None:
        own, weights = 0, shared_weights
        lora = int(lora_bytes * lora_rank_in_vllm(lora_rank) / lora_rank)
        budget = min(share * free_gib, usable_gib - gib(activation_reserve(shape, max_model_len))) * GIB
        expected = unsloth_kv_bytes(shape, budget, weights, lora)
        batched, n_seqs = schedule(gib(expected))
        n_seqs = int(1.05 * n_seqs) if kv_cache_dtype == "fp8" else n_seqs
        batched = max(n_seqs, min(batched, n_seqs * max_model_len))
        longest = min(max_model_len, unsloth_longest(shape, expected, kv_cache_dtype))
    else:
        own = weights = 2 * shape.parameters() if own_weights is None else own_weights
        lora, budget = 0, share * usable_gib * GIB
        batched, n_seqs, longest = TRL_BATCHED_TOKENS, generation_batch_size, max_model_len
    reserve = profiled_bytes(shape, batched, n_seqs)
    graphs = graph_bytes(shape, n_seqs, cuda_graphs_gib, lora=lora > 0)
    layout = kv_layout(shape, kv_cache_dtype)
    kv_cache = max(0, int(budget - weights - lora - reserve - graphs))
    kv_tokens = int(longest * kv_cache / layout.sequence_bytes(longest, STEPS_IN_FLIGHT * batched))
    return Engine(
        weights=own,
        lora=lora,
        reserve=reserve,
        kv_cache=kv_cache,
        cuda_graphs=graphs,
        kv_tokens=kv_tokens,
        longest=longest if kv_tokens >= longest else 0,
        max_num_seqs=n_seqs,
        max_num_batched_tokens=batched,
        gpu_memory_utilization=share,
        layout=layout,
        short=0 if shared_weights is not None else max(0, int(budget - free_gib * GIB)),
    )


def warnings(engine: Engine, request: Request, card: Card | None) -> tuple[str, ...]:
    """What will not go as asked, a line each."""
    unsloth, wanted = request.framework == "unsloth", request.max_model_len
    found = []
    if not engine.longest:
        found.append(
            f"vLLM does not start: its KV cache holds {engine.kv_tokens:,} tokens, less than one sequence of {wanted:,}"
        )
    elif engine.longest < wanted:
        found.append(
            f"Unsloth expects a small KV cache and cuts sequences to {engine.longest:,} tokens; {wanted:,} are asked"
        )
    if engine.short:
        too_much = format_gib(gib(engine.short))
        found.append(f"vLLM does not start: its share is {too_much} more than is free beside the training's weights")
    if abs(engine.gpu_memory_utilization - request.gpu_memory_utilization) > 1e-9:
        found.append(
            f"standby: asked {request.gpu_memory_utilization:.0%}, vLLM takes {engine.gpu_memory_utilization:.0%}"
        )
    capability = card.compute_capability if card else None
    if unsloth and request.kv_cache_dtype == "fp8" and capability and float(capability) < 8:
        found.append(f"Unsloth refuses an fp8 KV cache on compute capability {capability}: it takes 8.0")
    return tuple(found)


def _blocks(tokens: int) -> int:
    return -(-max(0, tokens) // BLOCK_TOKENS)
