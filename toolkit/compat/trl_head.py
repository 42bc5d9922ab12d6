"""TRL 1.15's log-probabilities where there is no CUDA device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.compat.contracts import require

if TYPE_CHECKING:
    import torch

MAX_LOGIT_ELEMENTS = 1 << 26  # 256 MiB of float32 logits at a time


def install_cpu_logprobs() -> None:
    """Give TRL's fused head a plain-PyTorch kernel where there is no CUDA device.

    - Symptom: `'NoneType' object has no attribute 'apply'` (no triton) or `0 active drivers` (triton, no GPU) in
      the first GRPO step.
    - Since TRL 1.14: log-probabilities come from `trl.kernels.ChunkedLogProbFunction`, Triton only.
    - Remove when TRL computes them on a CPU by itself.

    Idempotent. Does nothing on a CUDA device.

    Raises:
        ContractError: the name it replaces is gone.
    """
    import torch
    import trl.trainer.utils as trl_utils

    if torch.cuda.is_available():
        return
    require(trl_utils, "_ChunkedLogProbFunction", "trl 1.15")
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
        n_rows = max(1, MAX_LOGIT_ELEMENTS // weight.shape[0])
        if hidden.shape[0] <= n_rows:
            return _score(hidden, weight, bias, targets, temperature, final_logit_softcapping, logit_scale, outputs)
        chunks = [
            checkpoint(
                _score, h, weight, bias, t, temperature, final_logit_softcapping, logit_scale, outputs,
                use_reentrant=False,
            )
            for h, t in zip(hidden.split(n_rows), targets.split(n_rows), strict=True)
        ]  # fmt: skip
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
