"""From hidden states to log-probabilities or a loss: TRL's ways, Unsloth's, and transformers'."""

from __future__ import annotations

from functools import cache
from typing import Any


def completion_log_probs(model: Any, ids: Any, mask: Any, n_completion: int) -> Any:
    """Log-probabilities (B, C) by TRL's fused head; `add_fused_lm_head` must have patched the base model."""
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-n_completion] = -100
    outputs = model(input_ids=ids, attention_mask=mask, use_cache=False, labels=labels, fused_lm_head=True)
    return outputs.log_probs[:, -n_completion:]


def completion_logits(model: Any, ids: Any, mask: Any, n_completion: int) -> Any:
    """Logits (B, C, V) of the completions' tokens, in the model's dtype."""
    outputs = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=n_completion + 1)
    return outputs.logits[:, :-1]


def completion_hidden(model: Any, ids: Any, mask: Any, n_completion: int) -> Any:
    """Hidden states (B, C, H) that predict the completions' tokens: a view of all of them."""
    backbone = base_of(model).base_model
    hidden = backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden[:, -n_completion - 1 : -1]


def base_of(model: Any) -> Any:
    """The transformers model under the adapters, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def outputs_with_loss(model: Any, ids: Any, mask: Any) -> Any:
    """What transformers returns with labels: its own loss over all positions in float32, and their logits."""
    return model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False)


def unsloth_loss(hidden: Any, weight: Any, targets: Any, n_chunks: int) -> Any:
    """The loss as Unsloth's `UnslothEfficientGRPO` forms it: gradient and value chunk by chunk, in the forward.

    Shapes: hidden (N, H), weight (V, H), targets (N,). Only the gradient with respect to `hidden` outlives a chunk.
    Written out in eager operations: Unsloth compiles the chunk, which holds fewer copies, so this is an upper bound.
    """
    return _chunked_loss().apply(hidden, weight, targets, n_chunks)


@cache
def _chunked_loss() -> Any:
    import torch

    class ChunkedLoss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any, targets: Any, n_chunks: int) -> Any:
            gradient, total = torch.empty_like(hidden), torch.zeros(())
            pieces = (tensor.chunk(n_chunks) for tensor in (hidden, gradient, targets))
            for rows, gradient_rows, target in zip(*pieces, strict=True):
                total = total + _chunk_loss(rows, weight, target, gradient_rows)
            ctx.save_for_backward(gradient)
            return total

        @staticmethod
        def backward(ctx: Any, *d_total: Any) -> Any:
            return ctx.saved_tensors[0] * d_total[0], None, None, None

    return ChunkedLoss


def _chunk_loss(rows: Any, weight: Any, target: Any, gradient: Any) -> Any:
    """Return the chunk's loss and write its gradient with respect to `rows` into `gradient`."""
    import torch

    with torch.enable_grad():
        rows = rows.detach().requires_grad_(True)
        logits = (rows.to(weight.dtype) @ weight.t()).to(torch.float32)
        log_probs = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1) - torch.logsumexp(logits, -1)
        loss = -torch.exp(log_probs - log_probs.detach()).mean()
    gradient.copy_(torch.autograd.grad(loss, rows)[0])
    return loss.detach()
