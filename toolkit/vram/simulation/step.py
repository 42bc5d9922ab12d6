"""One GRPO step: loss, backward, clipping, Adam. The same code runs on fake tensors and on real ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from toolkit.vram.formula.update import Update
from toolkit.vram.simulation.model import torch_dtype

CLIP_LOW, CLIP_HIGH, MAX_GRAD_NORM = 0.8, 1.28, 1.0
LEARNING_RATE = 1e-5


class Step:
    """A model, materialised and with checkpointing set, on its inputs with its optimizer, ready to run.

    `enter` is told the name of each phase as it starts.
    """

    def __init__(self, update: Update, model: Any, enter: Callable[[str], None]) -> None:
        import torch

        self.update, self.model, self.enter = update, model, enter
        self.outputs: Any = None  # a hand-written training loop holds them, with all logits, until the step ends
        self.trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(update, model, self.trainable)
        shape = (update.batch, update.tokens.length)
        self.ids = torch.zeros(shape, dtype=torch.long)
        self.mask = torch.ones(shape, dtype=torch.long)
        if update.padded:
            self.mask[:, 0] = 0  # prompts are padded on the left
        self.advantages = torch.ones((update.batch, 1))
        model.train()
        if update.head == "chunked":
            from trl.trainer.utils import add_fused_lm_head

            add_fused_lm_head(base_of(model), temperature=1.0, outputs=("log_probs", "entropy"))

    @property
    def inputs(self) -> tuple[Any, ...]:
        return self.ids, self.mask, self.advantages

    @property
    def moments(self) -> list[Any]:
        return [] if self.optimizer is None else state_on_card(self.optimizer)

    def prime_optimizer(self) -> None:
        if self.optimizer is not None:
            prime(self.optimizer)

    def run(self) -> None:
        if self.update.accumulates:
            self.enter("earlier pass")
            self._loss().backward()
            self.outputs = None
        self.enter("forward")
        loss = self._loss()
        self.enter("backward of the head and last layer")
        loss.backward()
        del loss
        if self.optimizer is not None:
            import torch

            self.enter("optimizer")
            torch.nn.utils.clip_grad_norm_(self.trainable, MAX_GRAD_NORM)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        self.outputs = None

    def _loss(self) -> Any:
        """TRL's ways to a loss, Unsloth's, and transformers' own over all positions."""
        update, model, inputs = self.update, self.model, {"input_ids": self.ids, "attention_mask": self.mask}
        n, targets = update.completion, self.ids[:, -update.completion :]
        if update.head == "cross_entropy":
            with _autocast(update):
                self.outputs = model(**inputs, labels=self.ids, use_cache=False)
            return self.outputs.loss
        if update.head == "unsloth":
            with _autocast(update):
                hidden = base_of(model).base_model(**inputs, use_cache=False).last_hidden_state
            hidden = hidden[:, -n - 1 : -1]  # a view: Unsloth's caller holds all positions, too
            weight = model.get_output_embeddings().weight
            rows = hidden.reshape(-1, hidden.shape[-1])
            return _unsloth_loss().apply(rows, weight, targets.reshape(-1), update.chunks)
        if update.head == "chunked":
            labels = self.ids.masked_fill(self.mask == 0, -100)
            labels[:, :-n] = -100
            with _autocast(update):
                log_probs = model(**inputs, use_cache=False, labels=labels, fused_lm_head=True).log_probs[:, -n:]
            del labels
        else:
            from trl.trainer.utils import selective_log_softmax

            with _autocast(update):
                logits = model(**inputs, use_cache=False, logits_to_keep=n + 1).logits[:, :-1]
            log_probs = selective_log_softmax(logits, targets)
            del logits
        return _grpo_loss(log_probs, self.advantages)


def base_of(model: Any) -> Any:
    """The transformers model under the adapters, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


@cache
def _unsloth_loss() -> Any:
    """The loss as Unsloth's `UnslothEfficientGRPO` forms it: gradient and value chunk by chunk, in the forward.

    Shapes: hidden (N, H), weight (V, H), targets (N,). Only the gradient with respect to `hidden` outlives a chunk.
    Written out in eager operations: Unsloth compiles the chunk, which holds fewer copies, so this is an upper bound.
    """
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


def _grpo_loss(log_probs: Any, advantages: Any) -> Any:
    """GRPO's clipped loss on the policy's first update, beta = 0. Shapes: log_probs (B, C), advantages (B, 1)."""
    import torch

    ratio = torch.exp(log_probs - log_probs.detach())
    return -torch.min(ratio * advantages, ratio.clamp(CLIP_LOW, CLIP_HIGH) * advantages).mean()


def _autocast(update: Update) -> AbstractContextManager[Any]:
    """Mixed precision as `GRPOConfig(bf16=True)` or `fp16=True` has it; none in float32. Fake `cpu` is the card."""
    import torch

    if update.dtype == "fp32" or not update.autocast:
        return nullcontext()
    return torch.autocast("cpu", dtype=torch_dtype(update.dtype))


def _optimizer(update: Update, model: Any, parameters: list[Any]) -> Any:
    """AdamW with the implementation that the name means on CUDA; on a CPU the default is a loop over parameters."""
    import torch

    if update.optim == "none":
        return None
    if update.optim in ("adamw_8bit", "paged_adamw_8bit"):  # paged, too, it is counted as if it stayed on the card
        return _adamw_8bit(model, parameters)
    fused = update.optim == "adamw_torch_fused"
    return torch.optim.AdamW(parameters, lr=LEARNING_RATE, fused=fused, foreach=not fused)


def _adamw_8bit(model: Any, parameters: list[Any]) -> Any:
    """bitsandbytes' AdamW as transformers' Trainer makes it: a trained embedding keeps 32 bits."""
    from bitsandbytes.optim.adamw import AdamW
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    with unset_fake_temporarily():  # it computes its code books, which tensors without data cannot
        optimizer = AdamW(parameters, lr=LEARNING_RATE, optim_bits=8)
    manager: Any = object.__new__(type(optimizer.mng))  # the shared one would pass overrides on to other optimizers
    manager.initialize()
    manager.override_config(model.get_input_embeddings().weight, "optim_bits", 32)
    optimizer.mng = manager
    return optimizer


def prime(optimizer: Any) -> None:
    """Let the optimizer make its state with a first step, so that the step to come is like all later ones."""
    import torch

    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def state_on_card(optimizer: Any) -> list[Any]:
    """What AdamW keeps on the card: two moments a parameter, their scales and code books in 8 bit.

    A step count only when fused; PyTorch's others keep it on the host, and bitsandbytes' is no tensor.
    """
    on_host = () if optimizer.param_groups[0].get("fused") else ("step",)
    return [value for state in optimizer.state.values() for name, value in state.items() if name not in on_host]
