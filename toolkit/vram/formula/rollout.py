"""What vLLM takes of the card when it rolls out in the training process, and what its KV cache then holds.

It profiles one forward pass and its CUDA graphs, and gives the rest of its share to the KV cache.
Sources: vLLM 0.31 (v1/worker/gpu_worker.py, v1/kv_cache_interface.py); against what runs printed:
tests/golden/vllm_logs.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolkit.units import GIB, format_gib, gib

if TYPE_CHECKING:
    from toolkit.vram.cards import Card
    from toolkit.vram.formula.sharing import Setup
    from toolkit.vram.request import Request
    from toolkit.vram.shapes import Shape

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


def kv_layout(shape: Shape, kv_cache_dtype: str = "auto") -> KvLayout:
    """Two elements of kv_dim a token and layer: 2 bytes each, or 1 in fp8, whose scales are one number a tensor."""
    a_layer = 2 * shape.kv_dim * (1 if kv_cache_dtype == "fp8" else 2)
    n_sliding = shape.n_sliding_layers if shape.sliding_window else 0
    return KvLayout(a_layer * (shape.n_layers - n_sliding), a_layer * n_sliding, shape.sliding_window or 0)


def kv_bytes_per_token(shape: Shape) -> float:
    """Keys and values of one token in all layers, inside any window, in 16 bit."""
    layout = kv_layout(shape)
    return layout.full + layout.sliding


def _blocks(tokens: int) -> int:
    return -(-max(0, tokens) // BLOCK_TOKENS)


@dataclass(frozen=True)
class Engine:
    """vLLM's share of the card, in bytes, and what fits into its KV cache."""

    setup: Setup
    layout: KvLayout
    reserve: int
    """For the forward pass that it profiled: the KV cache leaves it free, and torch may use it outside the rollout."""
    kv_cache: int
    """0 when nothing is left."""
    cuda_graphs: int
    kv_tokens: int
    """Tokens that the KV cache holds in sequences of the longest length, as vLLM prints it."""
    longest: int
    """max_model_len in force; 0 where the cache cannot hold one such sequence: then vLLM does not start."""

    @property
    def total(self) -> int:
        """Bytes on the card while it rolls out, beside shared weights."""
        return self.setup.own_weights + self.setup.lora + self.reserve + self.kv_cache + self.cuda_graphs

    def n_concurrent(self, tokens: int) -> int:
        """How many sequences of `tokens` run at once, by the cache and by the scheduler's limit."""
        in_flight = STEPS_IN_FLIGHT * self.setup.max_num_batched_tokens
        by_cache = int(self.kv_cache // self.layout.sequence_bytes(max(1, tokens), in_flight))
        return min(self.setup.max_num_seqs, by_cache)

    def as_json(self) -> dict[str, float]:
        """What a person wants to know; `max_model_len` is 0 where it does not start."""
        return {
            "kv_tokens": self.kv_tokens,
            "max_concurrent_sequences": self.n_concurrent(self.longest) if self.longest else 0,
            "max_model_len": self.longest,
            "max_num_seqs": self.setup.max_num_seqs,
            "gpu_memory_utilization": self.setup.gpu_memory_utilization,
        }


def profiled_bytes(shape: Shape, batched_tokens: int, max_num_seqs: int) -> int:
    """What vLLM keeps out of its KV cache after profiling: a forward pass over the largest batch, or its sampler.

    The pass takes T (6 I + 7 H) bytes for T tokens, and 0.16 GiB outside of torch: read off Unsloth's table of
    profiling runs (unsloth_zoo, load_vllm; Qwen3-4B with rank 16, by its weights), within 0.03 GiB. Sampling takes 18 V
    a sequence: 16-bit logits and four copies in float32 (v1/sample/sampler.py); older engines sorted them and took 38.
    Vision towers are not counted.
    """
    forward = batched_tokens * (6 * shape.intermediate + 7 * shape.hidden)
    return int(max(forward, SAMPLER_BYTES * shape.vocab * max_num_seqs) + 0.16 * GIB)


def graph_bytes(shape: Shape, max_num_seqs: int, measured_gib: float, *, lora: bool) -> int:
    """CUDA graphs: `measured_gib` for GRAPHS_MEASURED of them in GRAPHS_LAYERS layers with LoRA, scaled by both.

    There is one for every captured batch size up to twice max_num_seqs, and one more for decoding up to max_num_seqs.
    """
    n = _capture_sizes(min(512, 2 * max_num_seqs)) + _capture_sizes(min(512, max_num_seqs))
    kind = GRAPHS_BOTH_WAYS if lora else GRAPHS_WITHOUT_LORA
    return int(measured_gib * GIB * kind * n / GRAPHS_MEASURED * shape.n_layers / GRAPHS_LAYERS)


def _capture_sizes(up_to: int) -> int:
    """How many batch sizes vLLM captures: 1, 2, 4, then every 8th up to 256, then every 16th."""
    small = sum(size <= up_to for size in (1, 2, 4))
    return small + min(up_to, 255) // 8 + max(0, (up_to - 240) // 16)


def plan_engine(shape: Shape, setup: Setup, *, cuda_graphs_gib: float, kv_cache_dtype: str = "auto") -> Engine:
    """The engine once it has profiled itself: the KV cache gets what its budget leaves.

    `cuda_graphs_gib` is what GRAPHS_MEASURED graphs took.
    """
    layout, longest = kv_layout(shape, kv_cache_dtype), setup.max_model_len
    reserve = profiled_bytes(shape, setup.max_num_batched_tokens, setup.max_num_seqs)
    graphs = graph_bytes(shape, setup.max_num_seqs, cuda_graphs_gib, lora=setup.lora > 0)
    kv_cache = max(0, int(setup.budget - setup.weights - setup.lora - reserve - graphs))
    sequence_bytes = layout.sequence_bytes(longest, STEPS_IN_FLIGHT * setup.max_num_batched_tokens)
    kv_tokens = int(longest * kv_cache / sequence_bytes)
    return Engine(setup, layout, reserve, kv_cache, graphs, kv_tokens, longest if kv_tokens >= longest else 0)


def warnings(engine: Engine, request: Request, card: Card | None) -> tuple[str, ...]:
    """What will not happen as asked, a line each."""
    unsloth, wanted = request.framework == "unsloth", request.max_model_len
    found = []
    if not engine.longest:
        found.append(
            f"vLLM does not start: its KV cache holds {engine.kv_tokens:,} tokens, less than one sequence of {wanted:,}"
        )
    elif engine.longest < wanted:
        found.append(
            f"Unsloth expects a small KV cache and limits sequences to {engine.longest:,} tokens; {wanted:,} are asked"
        )
    if engine.setup.missing:
        too_much = format_gib(gib(engine.setup.missing))
        found.append(f"vLLM does not start: its share is {too_much} more than is free beside the training's weights")
    asked, taken = request.gpu_memory_utilization, engine.setup.gpu_memory_utilization
    if abs(taken - asked) > 1e-9:
        found.append(f"standby: asked {asked:.0%}, vLLM takes {taken:.0%}")
    capability = card.compute_capability if card else None
    if unsloth and request.kv_cache_dtype == "fp8" and capability and float(capability) < 8:
        found.append(f"Unsloth refuses an fp8 KV cache on compute capability {capability}: it takes 8.0")
    return tuple(found)
