"""TRL 1.15: the private names that are relied on, log-probabilities without a CUDA device, and an exact resume.

Each function raises ContractError where a name that it needs is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit.compat.contracts import require

if TYPE_CHECKING:
    import torch

RELEASE = "trl 1.15"
MAX_LOGIT_ELEMENTS = 1 << 26  # 256 MiB of float32 logits at a time

# Methods of GRPOTrainer that are wrapped on the instance; Unsloth's rewritten trainer keeps them
GENERATE, CALCULATE_REWARDS, SCORE_ROUND = "_generate", "_calculate_rewards", "_generate_and_score_completions"
# Methods of it that the parity gate calls: what a rollout draws, and what an update scores
SAMPLE, SCORE, TOKENIZE = "_generate_single_turn", "_get_per_token_logps_and_entropies", "_tokenize_prompts"
SAVE_CHECKPOINT, LOAD_FROM_CHECKPOINT = "_save_checkpoint", "_load_from_checkpoint"


def wrap_method(trainer: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace one method on this trainer instance by `wrap(method)`."""
    setattr(trainer, name, wrap(require(trainer, name, RELEASE)))


def ending_ids(trainer: Any) -> frozenset[int]:
    """Tokens with which a completion ends by itself; TRL counts any other last token as truncated."""
    return frozenset((*require(trainer, "eos_token_ids", RELEASE), trainer.processing_class.pad_token_id))


def advantages(trainer: Any, n: int) -> list[float] | None:
    """The advantages of the last `n` completions, of all processes and in their order; None where TRL keeps fewer."""
    kept = list(require(trainer, "_logs", RELEASE)["advantages"])
    return kept[-n:] if n <= len(kept) else None


def reward_weights(trainer: Any) -> list[float]:
    """The weight of each reward function, as it stands."""
    return require(trainer, "reward_weights", RELEASE).tolist()


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


def install_cpu_logprobs() -> None:
    """Give TRL's fused head a plain-PyTorch kernel where there is no CUDA device.

    - Symptom: `'NoneType' object has no attribute 'apply'` (no triton) or `0 active drivers` (triton, no GPU) in
      the first GRPO step.
    - Since TRL 1.14: log-probabilities come from `trl.kernels.ChunkedLogProbFunction`, Triton only.
    - Remove when TRL computes them on a CPU by itself.

    Idempotent. Does nothing on a CUDA device.
    """
    import torch
    import trl.trainer.utils as trl_utils

    if torch.cuda.is_available():
        return
    require(trl_utils, "_ChunkedLogProbFunction", RELEASE)
    trl_utils._ChunkedLogProbFunction = ChunkedLogProb  # type: ignore[assignment] # a stand-in by signature, not by type


class ChunkedLogProb:
    """Same arguments and results as TRL's autograd function, differentiable by plain autograd."""

    @staticmethod
    def apply(
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_size: int,
        final_logit_softcapping: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1"),
    ) -> tuple[torch.Tensor | None, ...]:
        """Return per token: log p(target), entropy, log sum p^2, mean logit, whether the target is the argmax.

        Shapes: hidden (N, H), weight (V, H), bias (V,), targets (N,); each result (N,), or None when its name is
        not in `outputs` (the first is always there). `chunk_size`, the width of TRL's vocabulary tiles, has no
        part here: rows are split so that at most `MAX_LOGIT_ELEMENTS` logits exist, and recomputed in the backward.
        """
        import torch
        from torch.utils.checkpoint import checkpoint

        del chunk_size
        if torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        how = (temperature, final_logit_softcapping, logit_scale, outputs)
        n_rows = max(1, MAX_LOGIT_ELEMENTS // weight.shape[0])
        if hidden.shape[0] <= n_rows:
            return _score(hidden, weight, bias, targets, *how)
        chunks = [
            checkpoint(_score, h, weight, bias, t, *how, use_reentrant=False)
            for h, t in zip(hidden.split(n_rows), targets.split(n_rows), strict=True)
        ]
        return tuple(None if parts[0] is None else torch.cat(parts) for parts in zip(*chunks, strict=True))


def _score(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    temperature: float,
    softcap: float | None,
    logit_scale: float,
    outputs: tuple[str, ...],
) -> tuple[torch.Tensor | None, ...]:
    import torch
    from torch.nn.functional import linear

    logits = linear(hidden, weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)).float()
    logits = logits * logit_scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits / temperature
    logps = logits.log_softmax(-1)
    target_logps = logps.gather(-1, targets[:, None]).squeeze(-1)
    entropy = -(logps.exp() * logps).sum(-1) if "entropy" in outputs else None
    with torch.no_grad():
        log_sum_sq = torch.logsumexp(2 * logps, -1) if "log_sum_sq_probs" in outputs else None
        mean_logits = logits.mean(-1) if "mean_logits" in outputs else None
        is_top1 = logits.argmax(-1) == targets if "is_top1" in outputs else None
    return target_logps, entropy, log_sum_sq, mean_logits, is_top1
