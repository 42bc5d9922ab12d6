"""Token log-probabilities: what the run's sampler says of the tokens it draws, and what the trainer says of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from toolkit.compat import trl as trl_compat
from toolkit.compat.contracts import require
from toolkit.compat.vllm import sends_copies
from toolkit.training.parity.judgement import CONTINUOUS_BATCHING, UNSLOTH_GENERATE, UNSLOTH_VLLM
from toolkit.training.sampling import NEUTRAL

MAX_TOKENS = 48
"""Longest completion in a check."""
MAX_BATCH_TOKENS = 512
"""Tokens that continuous batching takes at a time in a check, unless the run says how many."""


@dataclass(frozen=True)
class Sampler:
    """What draws the rollouts of a run.

    `is_trainer`: transformers' own `generate` on the very model that is trained. `merges`: weights get there by merging
    the adapter into the base in place. `dtype` and `in_4bit` are of the sampler's weights; dtype None: it does not say.
    """

    name: str
    is_trainer: bool = False
    merges: bool = False
    dtype: str | None = None
    in_4bit: bool = False


@dataclass(frozen=True)
class Sampled:
    """Token ids of prompts and their completions, one a prompt, and the sampler's log-probability of each token."""

    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    logps: list[float]
    """All completions, one after the other."""


def sampler_of(trainer: Any, trainer_in_4bit: bool) -> Sampler:
    """Say what draws this trainer's rollouts."""
    if trainer.use_vllm:
        engine = getattr(trainer.vllm_generation, "llm", None)  # none in server mode
        config = getattr(getattr(getattr(engine, "llm_engine", None), "vllm_config", None), "model_config", None)
        shared = bool(getattr(engine, "shared_weights", False))  # Unsloth's: one base for vLLM and trainer
        return Sampler(
            UNSLOTH_VLLM if shared else f"vLLM ({trainer.vllm_mode})",
            merges=not shared and not sends_copies(trainer.vllm_generation),
            dtype=str(config.dtype).removeprefix("torch.") if config is not None else None,
            in_4bit=trainer_in_4bit if shared else getattr(config, "quantization", None) == "bitsandbytes",
        )
    own = {"dtype": trainer_dtype(trainer), "in_4bit": trainer_in_4bit}
    if trainer.use_transformers_continuous_batching:
        return Sampler(CONTINUOUS_BATCHING, **own)
    if hasattr(trainer.model, "for_inference") and trainer.accelerator.device.type == "cuda":
        return Sampler(UNSLOTH_GENERATE, **own)
    return Sampler("generate", is_trainer=True, **own)


def trainer_dtype(trainer: Any) -> str:
    """The type that the trainer computes in: autocast's where it is on, else its model's."""
    if trainer.args.bf16 or trainer.args.fp16:
        return "bfloat16" if trainer.args.bf16 else "float16"
    return str(trainer.model.dtype).removeprefix("torch.")


def sample(trainer: Any, prompt_ids: Sequence[list[int]]) -> Sampled:
    """Draw one completion a prompt as the trainer's rollouts do, but no longer than `MAX_TOKENS` and from all tokens.

    What cuts the tail off (`top_p` and its like) was asked for, and `training.notices` warns of it: no fault here. vLLM
    gives its log-probabilities back. From `generate` and `generate_batch` they are taken on the way, after the
    temperature, so that what is judged is the cache and the kernels that the tokens came from.
    """
    draw = require(trainer, trl_compat.SAMPLE, trl_compat.RELEASE)
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    kept: list[list[float]] = []
    with (
        _plain_sampling(trainer),
        _without_dropout(model),
        _wrapped(model, "generate", lambda f: _recorded_generate(f, kept)),
        _wrapped(model, "generate_batch", lambda f: _recorded_batch(f, kept)),
    ):
        completion_ids, logps = draw(list(prompt_ids), None, {}, 1)
    rows = kept if logps is None else logps
    # As TRL does: what follows the first end-of-sequence token was generated and is not used
    values = [lp for ids, row in zip(completion_ids, rows, strict=True) for lp in row[: len(ids)]]
    return Sampled(
        list(prompt_ids),
        [list(ids) for ids in completion_ids],
        [math.nan if value is None else float(value) for value in values],
    )


def score(trainer: Any, sampled: Sampled) -> list[float]:
    """The trainer's own log-probability of each sampled token, in the order of `sampled.logps`."""
    import torch
    from trl.models.utils import disable_gradient_checkpointing
    from trl.trainer.utils import pad

    device, pad_id = trainer.accelerator.device, trainer._tokenizer.pad_token_id
    prompts = [torch.tensor(ids) for ids in sampled.prompt_ids]
    completions = [torch.tensor(ids) for ids in sampled.completion_ids]
    ids = [pad(prompts, pad_id, "left"), pad(completions, pad_id, "right")]
    masks = [
        pad([torch.ones_like(p) for p in prompts], 0, "left"),
        pad([torch.ones_like(c) for c in completions], 0, "right"),
    ]
    n_columns = ids[1].size(1)
    with (
        torch.no_grad(),
        disable_gradient_checkpointing(trainer.model, trainer.args.gradient_checkpointing_kwargs),
        _without_dropout(trainer.model),
    ):
        logps = require(trainer, trl_compat.SCORE, trl_compat.RELEASE)(
            trainer.model,
            torch.cat(ids, dim=1).to(device),
            torch.cat(masks, dim=1).to(device),
            n_columns,
            batch_size=trainer.args.per_device_train_batch_size,
        )[0].float()
    width = ids[0].size(1)
    values: list[float] = []
    for row, prompt, completion in zip(logps.tolist(), prompts, completions, strict=True):
        # Unsloth moves the left padding to the right end, and returns as many columns more
        n_left = width - len(prompt)
        first = len(row) - n_columns - n_left if len(row) > n_columns else 0
        values += row[first : first + len(completion)]
    return values


@contextmanager
def _plain_sampling(trainer: Any) -> Iterator[None]:
    """Shorter completions and neutral sampling for a while, at the trainer's temperature.

    Each engine has its own names for it, and `generation_kwargs` wins over them.
    """
    if trainer.use_vllm:
        owners, length = [vars(trainer.vllm_generation), trainer.vllm_generation.generation_kwargs], "max_tokens"
    else:
        owners, length = [vars(trainer.generation_config), trainer.generation_kwargs], "max_new_tokens"
    plain = {name: next(iter(values), None) for name, values in NEUTRAL.items()} | {"temperature": trainer.temperature}
    plain |= dict.fromkeys((length, "max_completion_length"), min(MAX_TOKENS, trainer.max_completion_length))
    kept = [(owner, name, owner[name]) for owner in owners for name in plain if owner.get(name) is not None]
    for owner, name, _ in kept:
        owner[name] = plain[name]
    try:
        yield
    finally:
        for owner, name, value in kept:
            owner[name] = value


@contextmanager
def _without_dropout(model: Any) -> Iterator[None]:
    """Dropout acts in TRL's rollouts and in its updates, differently each time: it would drown what is measured."""
    import torch

    active = [m for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.p > 0]
    rates = [m.p for m in active]
    for module in active:
        module.p = 0.0
    try:
        yield
    finally:
        for module, rate in zip(active, rates, strict=True):
            module.p = rate


@contextmanager
def _wrapped(model: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Put `wrap(method)` in the place of one method of this model, and take it away again."""
    method = getattr(model, name, None)
    if method is None:
        yield
        return
    own = vars(model).get(name)
    setattr(model, name, wrap(method))
    try:
        yield
    finally:
        delattr(model, name) if own is None else setattr(model, name, own)


def _recorded_generate(generate: Callable[..., Any], kept: list[list[float]]) -> Callable[..., Any]:
    def recorded(*args: Any, **kwargs: Any) -> Any:
        import torch

        config = copy.deepcopy(kwargs["generation_config"])
        config.return_dict_in_generate = config.output_scores = True
        output = generate(*args, **kwargs | {"generation_config": config})
        new_ids = output.sequences[:, -len(output.scores) :]
        columns = [
            scores.float().log_softmax(-1).gather(-1, ids[:, None])
            for scores, ids in zip(output.scores, new_ids.unbind(1), strict=True)
        ]
        kept.extend(torch.cat(columns, dim=1).tolist())
        return output.sequences

    return recorded


def _recorded_batch(generate_batch: Callable[..., Any], kept: list[list[float]]) -> Callable[..., Any]:
    def recorded(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        config = replace(kwargs["continuous_batching_config"], return_logprobs=True)
        if config.num_blocks is None:  # else half of the memory that is free, for these few tokens
            longest = max(len(ids) for ids in inputs) + kwargs["generation_config"].max_new_tokens
            config.num_blocks = len(inputs) * (longest // config.block_size + 2)
            config.max_batch_tokens = config.max_batch_tokens or MAX_BATCH_TOKENS
        outputs = generate_batch(inputs, *args, **kwargs | {"continuous_batching_config": config})
        kept.extend(list(output.logprobs) for output in outputs.values())  # the order in which TRL takes them
        return outputs

    return recorded
