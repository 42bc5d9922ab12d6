"""Requests for the planner's property tests: whole batches, all kinds of run, on cards from 8 to 80 GB."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.request import Request

SHAPES = st.sampled_from(
    ["Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-3B-Instruct", "Qwen/Qwen3-8B", "Qwen/Qwen2.5-32B-Instruct"]
).map(find)
CARDS = st.sampled_from(["RTX 3070", "RTX 3060", "T4", "RTX 4090", "A100 80GB"]).map(find_card)


@st.composite
def requests(draw: st.DrawFn, **fixed: Any) -> Request:
    """A request that `toolkit.vram.request.check` takes; `fixed` fields are as given."""
    framework = draw(st.sampled_from(["unsloth", "trl"]))
    batch, group = draw(st.integers(1, 24)), draw(st.sampled_from([2, 4, 6, 8, 16]))
    passes = draw(st.integers(1, 4)) * group // math.gcd(group, batch)
    is_cut_apart = draw(st.booleans())
    generation = draw(st.sampled_from(["vllm", "vllm", "hf"]))
    fields = {
        "task": draw(st.sampled_from(["grpo", "grpo", "sft"])),
        "method": draw(st.sampled_from(["qlora", "lora", "full"])),
        "framework": framework,
        "lora_rank": draw(st.sampled_from([4, 16, 32, 100, 256])),
        "per_device_train_batch_size": batch,
        "num_generations": group,
        "gradient_accumulation_steps": draw(st.integers(1, 4)) if is_cut_apart else passes,
        "steps_per_generation": passes if is_cut_apart else None,
        "max_prompt_length": draw(st.integers(1, 6000)),
        "max_completion_length": draw(st.integers(1, 9000)),
        "max_seq_length": draw(st.integers(1, 9000)),
        "gradient_checkpointing": draw(st.sampled_from([None, "none", "hf"])),
        "optim": draw(st.sampled_from(["adamw_torch", "adamw_8bit"])),
        "dtype": draw(st.sampled_from(["bf16", "fp32"])),
        "attention": draw(st.sampled_from(["sdpa", "eager"])),
        "loss_head": draw(st.sampled_from([None, "logits"])),
        "generation": generation,
        "gpu_memory_utilization": draw(st.sampled_from([0.1, 0.3, 0.6, 0.9])),
        "standby": generation == "vllm" and draw(st.booleans()),
        "beta": draw(st.sampled_from([0.0, 0.04])),
        "upcast_embeddings": draw(st.booleans()),
        "bnb_4bit_use_double_quant": draw(st.booleans()),
    }
    return Request(**(fields | fixed))
