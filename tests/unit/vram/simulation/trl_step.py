"""The check on the check: `GRPOTrainer.training_step` itself on fake tensors, in place of this package's own step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from typing import Any

from toolkit.compat.contracts import require
from toolkit.errors import SettingsError
from toolkit.vram.formula.update import Update
from toolkit.vram.simulation.ledger import SimulatedPeak
from toolkit.vram.simulation.run import FakeCard, fake_card, highest
from toolkit.vram.simulation.step import MAX_GRAD_NORM, prime, state_on_card

TRL = "trl 1.15"


def simulate_trl_step(config: Mapping[str, Any], update: Update, *, layers: int | None = None) -> SimulatedPeak:
    """Return the peak of a step that TRL drives, with all of the model's layers or its first `layers`.

    Slower than `simulate` by the making of a trainer, some seconds. TRL alone has its own head, checkpoints on the
    card or none, and no float16 without a GPU.

    Raises:
        SettingsError: an update with something else.
        ModelError: an architecture that transformers does not know.
        ContractError: as `simulate`, and when the trainer's methods have changed.
    """
    offloads, has_optimizer = update.checkpointing == "unsloth", update.optim != "none"
    if update.head != "chunked" or offloads or not has_optimizer or update.dtype == "fp16":
        wanted = "head chunked, checkpointing none or hf, an optimizer, bf16 or fp32"
        raise SettingsError("a step that TRL does not drive", wanted)
    started = time.perf_counter()
    with fake_card(config, update, layers) as card, tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(card, folder)
        model = trainer.accelerator.prepare_model(trainer.model)
        optimizer = _optimizer(update, trainer)
        inputs = _inputs(update)
        card.book("optimizer", state_on_card(optimizer))
        card.book("inputs", (tensor for tensor in inputs.values() if tensor is not None))
        card.book_gradients()
        with card.watch.mode():
            _step(card, trainer, model, optimizer, inputs)
    return highest(card.load_bytes, card.peaks(), time.perf_counter() - started)


def _step(card: FakeCard, trainer: Any, model: Any, optimizer: Any, inputs: dict[str, Any]) -> None:
    import torch

    card.enter("forward, backward of the head and last layer")
    trainer.training_step(model, inputs, None)
    card.enter("optimizer")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _trainer(card: FakeCard, folder: str) -> Any:
    """Return a `GRPOTrainer` that takes its batch as given.

    Three things stand in its way on fake tensors: `Module.to` swaps tensors, `_prepare_inputs` would generate, and
    the number of accumulation steps is set by the loop that is not run. All three fail at once if they are not met.
    """
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    update = card.update
    arguments = GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=update.dtype == "bf16",
        per_device_train_batch_size=update.batch,
        gradient_accumulation_steps=2,  # so that two generations fit into the generation batch of any batch size
        num_generations=2,
        max_completion_length=update.completion,
        gradient_checkpointing=update.checkpointing == "hf",
        gradient_checkpointing_kwargs={"use_reentrant": False},
        optim=update.optim,
        report_to=[],
    )
    card.model.to = lambda *_, **__: card.model
    trainer: Any = GRPOTrainer(
        model=card.model,
        reward_funcs=_no_reward,
        args=arguments,
        train_dataset=_prompts(),
        processing_class=_tokenizer(),
    )
    for name in ("_prepare_inputs", "training_step", "create_optimizer"):
        require(trainer, name, TRL)
    trainer._prepare_inputs = lambda batch: batch
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def _no_reward(completions: list[Any], **_: Any) -> list[float | None]:
    return [None for _ in completions]


def _prompts() -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"prompt": "a"}] * 16)


def _tokenizer() -> Any:
    """The least that a trainer asks for: words, a pad and an end token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    pad, end, unknown = special = ("<pad>", "<eos>", "<unk>")
    words = WordLevel({word: index for index, word in enumerate((*special, "a"))}, unk_token=unknown)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token=pad, eos_token=end, unk_token=unknown)


def _optimizer(update: Update, trainer: Any) -> Any:
    optimizer = trainer.create_optimizer()
    for group in optimizer.param_groups:
        group["foreach"] = update.optim == "adamw_torch"  # PyTorch's choice on CUDA; on a CPU it would loop
    prime(optimizer)
    return optimizer


def _inputs(update: Update) -> dict[str, Any]:
    """A batch as `_generate_and_score_completions` leaves it, for the policy's first update and beta = 0."""
    import torch

    prompt, completion = (update.batch, update.prompt), (update.batch, update.completion)
    prompt_mask = torch.ones(prompt, dtype=torch.long)
    if update.padded:
        prompt_mask[:, 0] = 0
    return {
        "prompt_ids": torch.zeros(prompt, dtype=torch.long),
        "prompt_mask": prompt_mask,
        "completion_ids": torch.zeros(completion, dtype=torch.long),
        "completion_mask": torch.ones(completion, dtype=torch.long),
        "advantages": torch.ones(update.batch),
        "num_items_in_batch": torch.ones(()),
        "old_per_token_logps": None,
    }
