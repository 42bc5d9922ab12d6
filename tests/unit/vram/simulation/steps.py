"""An update small enough to simulate in a second, and three models of true size."""

from __future__ import annotations

from typing import Any

from toolkit.vram.formula.update import Update

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TINY = {
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 4000,
    "tie_word_embeddings": True,
}
N_LINEAR = 2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 384
"""Weights of the projections of one of TINY's layers."""
STEP = Update("none", batch=2, prompt=64, completion=128, rank=8, targets=ALL_LINEAR, chunks=2)


def config(kind: str, hidden: int, layers: int, heads: int, kv_heads: int, inner: int, vocab: int) -> dict[str, Any]:
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocab,
        "tie_word_embeddings": hidden < 3500,
        **({"head_dim": 128} if kind == "qwen3" else {}),
    }


QWEN25_7B = config("qwen2", 3584, 28, 28, 4, 18944, 152064)
QWEN25_1_5B = config("qwen2", 1536, 28, 12, 2, 8960, 151936)
QWEN3_8B = config("qwen3", 4096, 36, 32, 8, 12288, 151936)
