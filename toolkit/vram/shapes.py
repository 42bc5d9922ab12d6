"""What a model consists of: every parameter of a decoder, counted from its sizes without torch and without the Hub.

The counts are those of transformers 5.17 (models/*/modeling_*.py); tests/unit/vram/test_shapes.py builds the real
classes to compare. Only the language model is counted: Gemma 3's vision tower is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from toolkit.errors import SettingsError, did_you_mean

SHORT_TARGETS = {
    "attention": ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "gate_up_proj", "down_proj"),
}


@dataclass(frozen=True)
class Shape:
    """The sizes of one decoder. Counts are exact; a tied head is counted once, in the embedding."""

    name: str
    """Hub id, or the folder's name."""
    architecture: str
    hidden: int
    intermediate: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    """The head shares the embedding's matrix."""
    attention_bias: bool
    """Biases on q, k and v (Qwen2 has them always)."""
    qk_norm: bool
    """An RMSNorm of `head_dim` weights on queries and one on keys (Qwen3, Gemma 3)."""
    n_norms_per_layer: int
    """2, or 4 where each block's output is normalised, too (Gemma 2 and 3)."""
    max_position_embeddings: int
    sliding_window: int | None = None
    """Tokens that a layer with a window looks back; None when no layer has one."""
    n_sliding_layers: int = 0
    output_bias: bool = False
    """A bias on o_proj."""
    mlp_bias: bool = False
    fused: bool = False
    """q, k and v are one module, gate and up another (Phi-3 and Phi-4)."""
    attention_softcap: float | None = None
    """Gemma 2: attention scores pass through cap * tanh(score / cap), which SDPA's fast kernels cannot do."""
    n_unquantised: int = 0
    """Weights of projections that a 4-bit copy keeps in 16 bit, as Unsloth's dynamic copies do."""
    logit_softcap: float | None = None
    """Gemma 2: the same for the logits, in one more buffer as wide as the vocabulary."""

    config: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The language model's config as transformers takes it, with `model_type`."""

    @property
    def q_dim(self) -> int:
        """Width of all query heads together; not always `hidden`."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.n_kv_heads * self.head_dim

    def modules(self) -> Iterator[tuple[str, int]]:
        """Full name of each projection, `model.layers.0.mlp.up_proj`, and how many weights it has."""
        for layer in range(self.n_layers):
            for name, (n_in, n_out) in self.linears().items():
                block = "self_attn" if name in SHORT_TARGETS["attention"] else "mlp"
                yield f"model.layers.{layer}.{block}.{name}", n_in * n_out

    def linears(self) -> dict[str, tuple[int, int]]:
        """Module name of each projection of a layer -> (in, out) features, in the order of the forward pass."""
        h, i, q, k = self.hidden, self.intermediate, self.q_dim, self.kv_dim
        if self.fused:
            return {"qkv_proj": (h, q + 2 * k), "o_proj": (q, h), "gate_up_proj": (h, 2 * i), "down_proj": (i, h)}
        attention = {"q_proj": (h, q), "k_proj": (h, k), "v_proj": (h, k), "o_proj": (q, h)}
        return attention | {"gate_proj": (h, i), "up_proj": (h, i), "down_proj": (i, h)}

    def parameters(self) -> int:
        """All parameters of the language model, as `sum(p.numel() for p in model.parameters())`."""
        return self.embedding_parameters() + self.linear_parameters() + self.other_parameters()

    def linear_parameters(self) -> int:
        """Weights of the projections of all layers, without biases: what NF4 quantises."""
        return self.n_layers * sum(n_in * n_out for n_in, n_out in self.linears().values())

    def embedding_parameters(self) -> int:
        """The embedding, and the head where it has a matrix of its own."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    def other_parameters(self) -> int:
        """Norms, the final one included, and biases."""
        per_layer = self.n_norms_per_layer * self.hidden
        per_layer += 2 * self.head_dim if self.qk_norm else 0
        per_layer += self.q_dim + 2 * self.kv_dim if self.attention_bias else 0
        per_layer += self.hidden if self.output_bias else 0
        per_layer += 2 * self.intermediate + self.hidden if self.mlp_bias else 0
        return self.n_layers * per_layer + self.hidden

    def lora_parameters(self, rank: int, targets: Sequence[str]) -> int:
        """Trained weights of LoRA: A is (rank, in) and B (out, rank) for each target module (arXiv:2106.09685)."""
        linears = self.linears()
        return self.n_layers * rank * sum(sum(linears[name]) for name in parse_targets(targets, self))


def parse_targets(text: str | Sequence[str], shape: Shape) -> tuple[str, ...]:
    """Module names of LoRA targets, in the order of the forward pass.

    Takes module names, their short forms (`q,k,v,o,gate,up,down`), `attention`, `mlp` and `all-linear` (all but the
    head, as in PEFT), separated by commas or spaces, or as a list.

    Raises:
        SettingsError: nothing is named, or a module that the architecture lacks. PEFT would skip that one in silence
            as long as another matches: `q_proj` beside `o_proj` on Phi-4, whose q, k and v are one `qkv_proj`.
    """
    words = text.replace(",", " ").split() if isinstance(text, str) else text
    return _parse(tuple(words), tuple(shape.linears()), shape.architecture)


@lru_cache(maxsize=64)
def _parse(words: tuple[str, ...], modules: tuple[str, ...], architecture: str) -> tuple[str, ...]:
    chosen = {name for word in words for name in _expand(word, modules, architecture)}
    if not chosen:
        raise SettingsError("--lora_targets is empty", f"some of {', '.join(modules)}, or all-linear")
    return tuple(name for name in modules if name in chosen)


def _expand(word: str, modules: tuple[str, ...], architecture: str) -> tuple[str, ...]:
    if word == "all-linear":
        return modules
    if word in SHORT_TARGETS:
        return tuple(name for name in SHORT_TARGETS[word] if name in modules)
    name = word if word in modules else f"{word}_proj"
    if name not in modules:
        wanted = did_you_mean(word, modules) or f"some of {', '.join(modules)}, or all-linear"
        raise SettingsError(f"--lora_targets: {architecture} has no module {word!r}", wanted)
    return (name,)
