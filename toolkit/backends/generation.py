"""Batched generation with the model's own `generate`, for engines that have nothing faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from toolkit.backends.base import Generation, Messages, Policy, Sampling


@contextmanager
def in_eval_mode(model: Any) -> Iterator[None]:
    """Evaluate without dropout and gradients, and put the mode back: the trainer goes on with this object."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def prompt_ids(tokenizer: Any, prompts: Sequence[Messages]) -> list[list[int]]:
    """Token ids as TRL's rollouts take them. Text would get a second BOS where tokenizers add one (Llama 3's does)."""
    rendered = tokenizer.apply_chat_template(
        list(prompts), add_generation_prompt=True, tokenize=True, return_dict=True, padding=False
    )
    return rendered["input_ids"]


def generate_with_transformers(policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
    """Generate with the model's own `generate`; results in the order of `prompts`."""
    import torch

    tokenizer, model = policy.tokenizer, policy.model
    texts = [tokenizer.apply_chat_template(p, add_generation_prompt=True, tokenize=False) for p in prompts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    results: dict[int, Generation] = {}
    sample = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
    how: dict[str, Any] = sample if sampling.temperature > 0 else {"do_sample": False}
    # What is not said comes from the model's generation_config, and an instruct model's may penalise repetition; TRL's
    # rollouts and vLLM's SamplingParams do not, so the measurement would be of another policy
    how |= {"repetition_penalty": 1.0, "pad_token_id": tokenizer.pad_token_id}
    for start in range(0, len(order), sampling.batch_size):
        batch = order[start : start + sampling.batch_size]
        inputs = tokenizer([texts[i] for i in batch], return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = {k: v.to(model.device) for k, v in inputs.items() if k in ("input_ids", "attention_mask")}
        output = model.generate(**inputs, max_new_tokens=sampling.max_completion_length, use_cache=True, **how)
        completions = output[:, inputs["input_ids"].shape[1] :]
        ends = torch.tensor(eos_ids(policy), device=completions.device)
        for i, ids in zip(batch, completions, strict=True):
            stops = torch.isin(ids, ends).nonzero()
            n_tokens = int(stops[0]) + 1 if len(stops) else len(ids)
            text = tokenizer.decode(ids[:n_tokens], skip_special_tokens=True)
            results[i] = Generation(text, n_tokens, is_truncated=len(stops) == 0)
    return [results[i] for i in range(len(prompts))]


def eos_ids(policy: Policy) -> list[int]:
    """Every token id that ends a completion: the model's list and the tokenizer's own."""
    declared = policy.model.generation_config.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    return sorted({i for i in [*ids, policy.tokenizer.eos_token_id] if i is not None})
