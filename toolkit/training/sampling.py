"""Sampling that draws each token with the probability that the trainer computes for it, and what does not."""

from __future__ import annotations

from typing import Any

# Names and values of GenerationConfig (transformers 5.17) and SamplingParams (vLLM 0.31) under which every token is
# drawn with the probability that the trainer computes for it. None and an empty list are neutral for all of them.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_sample": (True,),
    "num_beams": (1,),
    "top_p": (1.0,),
    "top_k": (0, -1),
    "min_p": (0.0,),
    "top_h": (1.0,),
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "repetition_penalty": (1.0,),
    "presence_penalty": (0.0,),
    "frequency_penalty": (0.0,),
    "no_repeat_ngram_size": (0,),
    "min_new_tokens": (0,),
    "min_tokens": (0,),
    "bad_words_ids": (),
    "bad_words": (),
    "suppress_tokens": (),
    "logit_bias": (),
    "allowed_token_ids": (),
}
_FROM_CONFIG = ("top_p", "top_k", "min_p", "repetition_penalty")
"""Those of them that GRPOConfig has a field for; `generation_kwargs` wins over it."""


def biased_sampling(trainer: Any) -> list[str]:
    """`name value` of each setting under which the sampler's probabilities are not those that the trainer computes.

    The trainer takes a softmax of the logits over `temperature`, over the whole vocabulary. A sampler that cuts the
    tail off, or penalises tokens, or has a temperature of its own, draws from something else (trl#6789).
    """
    sampler = {name: getattr(trainer, name, None) for name in _FROM_CONFIG} | (trainer.args.generation_kwargs or {})
    biased = [
        f"{name} {value}"
        for name, value in sampler.items()
        if name in NEUTRAL and value not in (None, [], {}, *NEUTRAL[name])
    ]
    temperature = sampler.get("temperature", trainer.temperature)
    if temperature != trainer.temperature:
        biased.append(f"temperature {temperature} (the trainer's is {trainer.temperature})")
    return biased
