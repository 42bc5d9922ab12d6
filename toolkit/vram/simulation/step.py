"""One GRPO step: loss, backward, clipping, Adam. The same code runs on fake tensors and on real ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from toolkit.vram.formula.update import Update
from toolkit.vram.simulation import heads
from toolkit.vram.simulation.model import torch_dtype

CLIP_LOW, CLIP_HIGH, MAX_GRAD_NORM = 0.8, 1.28, 1.0
LEARNING_RATE = 1e-5
LAYER_OF = re.compile(r"\.layers\.(\d+)\.")


class Step:
    """A model on its inputs with its optimizer, ready to run.

    Args:
        update: what it consists of.
        model: the PEFT model, materialised and with checkpointing set.
        enter: told the name of each phase as it starts.
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

            add_fused_lm_head(heads.base_of(model), temperature=1.0, outputs=("log_probs", "entropy"))

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
        if self.update.head == "cross_entropy":
            with _autocast(self.update):
                self.outputs = heads.outputs_with_loss(self.model, self.ids, self.mask)
            return self.outputs.loss
        completions = self.ids[:, -self.update.completion :]
        scored = (self.model, self.ids, self.mask, self.update.completion)
        if self.update.head == "unsloth":
            with _autocast(self.update):
                hidden = heads.completion_hidden(*scored)
            weight = self.model.get_output_embeddings().weight
            rows = hidden.reshape(-1, hidden.shape[-1])  # `hidden` stays: Unsloth's caller holds all positions, too
            return heads.unsloth_loss(rows, weight, completions.reshape(-1), self.update.chunks)
        if self.update.head == "chunked":
            with _autocast(self.update):
                log_probs = heads.completion_log_probs(*scored)
        else:
            from trl.trainer.utils import selective_log_softmax

            with _autocast(self.update):
                logits = heads.completion_logits(*scored)
            log_probs = selective_log_softmax(logits, completions)
            del logits
        return _grpo_loss(log_probs, self.advantages)


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


def on_gradient(model: Any, act: Callable[[Any], None], on_layer_done: Callable[[int], None]) -> None:
    """Call `act(gradient)` when a parameter's gradient is complete, `on_layer_done(layer)` after the layer's last."""
    waiting: Counter[int] = Counter()

    def completed(parameter: Any, layer: int | None) -> None:
        act(parameter.grad)
        if layer is not None:
            waiting[layer] -= 1
            if waiting[layer] == 0:
                on_layer_done(layer)

    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found = LAYER_OF.search(name)
            layer = int(found[1]) if found else None
            if layer is not None:
                waiting[layer] += 1
            parameter.register_post_accumulate_grad_hook(partial(completed, layer=layer))
