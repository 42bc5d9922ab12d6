"""TRL 1.15: the private names that are relied on, and what a resumed run of it would do otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from toolkit.compat.contracts import require

RELEASE = "trl 1.15"

# Methods of GRPOTrainer that are wrapped on the instance; Unsloth's rewritten trainer keeps them
GENERATE, CALCULATE_REWARDS = "_generate", "_calculate_rewards"
# Methods of it that the parity gate calls: what a rollout draws, and what an update scores
SAMPLE, SCORE, TOKENIZE = "_generate_single_turn", "_get_per_token_logps_and_entropies", "_tokenize_prompts"
SAVE_CHECKPOINT, LOAD_FROM_CHECKPOINT = "_save_checkpoint", "_load_from_checkpoint"


def wrap_method(trainer: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace one method on this trainer instance by `wrap(method)`.

    Raises:
        ContractError: the trainer has no such method, so what hangs on it would silently never run.
    """
    setattr(trainer, name, wrap(require(trainer, name, RELEASE)))


def keep_dtypes_at_resume(trainer: Any) -> None:
    """Give the adapter its own type back after a checkpoint is loaded.

    - Symptom: a resumed 4-bit run goes on in float32, and differs from one that was never stopped.
    - Cause: TRL casts the adapter to bfloat16 over a 4-bit base when it builds; transformers then loads the
      checkpoint through PEFT's `load_adapter`, which casts to float32.
    - Remove when transformers passes `autocast_adapter_dtype=False` there.
    """
    dtypes = {name: p.dtype for name, p in trainer.model.named_parameters() if p.requires_grad}

    def keep(load: Callable[..., Any]) -> Callable[..., Any]:
        def loaded(*args: Any, **kwargs: Any) -> Any:
            result = load(*args, **kwargs)
            for name, parameter in trainer.model.named_parameters():
                if name in dtypes and parameter.dtype != dtypes[name]:
                    parameter.data = parameter.data.to(dtypes[name])
            return result

        return loaded

    wrap_method(trainer, LOAD_FROM_CHECKPOINT, keep)


def train_in_float32(trainer: Any) -> None:
    """Give the trained weights float32 under fp16 autocast, which is what its gradient scaler works on.

    - Symptom: without bfloat16, step 1 of a 4-bit run ends in "_amp_foreach_non_finite_check_and_unscale_cuda"
      not implemented for 'BFloat16' (https://github.com/pytorch/pytorch/issues/127176).
    - Cause: TRL casts every adapter over a 4-bit base to bfloat16, whatever the arguments say.
    - Remove when TRL takes `fp16` into account there.
    """
    import torch

    for parameter in trainer.model.parameters():
        if trainer.args.fp16 and parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def advance_sampler(dataloader: Any, step: int, gradient_accumulation_steps: int) -> None:
    """Bring TRL's sampler to the permutation of the epoch that a resumed run is in.

    - Symptom: a run resumed in its second epoch sees the first epoch's order again. transformers skips batches
      within the epoch, but TRL's RepeatSampler draws each epoch's permutation from a generator of its own, which
      starts anew with the process.
    - Remove when RepeatSampler implements `set_epoch`.
    """
    import torch

    if step == 0:
        return
    sampler = dataloader
    while not hasattr(sampler, "mini_repeat_count"):
        inner = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)
        if inner is None:
            return  # an iterable dataset has no sampler to advance
        sampler = inner
    steps_per_epoch = max(1, math.ceil(len(dataloader) / gradient_accumulation_steps))  # the last may be a short one
    for _ in range(step // steps_per_epoch):
        torch.randperm(sampler.num_samples, generator=sampler.generator)
