"""What a recipe asks of an engine, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from toolkit.data.prompts import Messages, messages
from toolkit.errors import BackendError, ModelError
from toolkit.settings import Lengths, ModelSettings
from toolkit.units import format_count


@dataclass
class Policy:
    """The model in training with all that belongs to it.

    `peft_config` is set while the adapter is still to be applied by the trainer, and None once the model carries it.
    """

    model: Any
    tokenizer: Any
    source: str
    peft_config: Any | None = None
    dtype: str = "float32"
    n_linear_4bit: int = 0
    notes: tuple[str, ...] = ()
    """What a user should know about how it was loaded, a line each."""

    def weights(self) -> dict[str, str | None]:
        """Where the loaded weights come from: Hub id or folder, and the commit of the Hub's repository."""
        config = self.model.config
        name, commit = getattr(config, "_name_or_path", ""), getattr(config, "_commit_hash", None)
        return {"name": name or self.source, "commit": commit}

    def describe(self) -> str:
        """`0.36M parameters in float32, 4-bit: 14 NF4 layers`: what was really loaded."""
        n = sum(p.numel() * (2 if type(p).__name__ == "Params4bit" else 1) for p in self.model.parameters())
        four = f", 4-bit: {self.n_linear_4bit} NF4 layers" if self.n_linear_4bit else ""
        weights = self.weights()
        origin = f", from {weights['name']} at {weights['commit'][:8]}" if weights["commit"] else ""
        return f"{format_count(n)} parameters in {self.dtype}{four}{origin}"


@dataclass(frozen=True)
class Generation:
    """One completion: its text without special tokens, its length in tokens, whether the limit truncated it."""

    text: str
    n_tokens: int
    is_truncated: bool


@dataclass(frozen=True)
class Sampling:
    """How to generate; temperature 0 is greedy."""

    max_completion_length: int
    temperature: float = 0.0
    batch_size: int = 64


class Backend(Protocol):
    """An engine: loads a model with its adapter, generates, and saves."""

    name: str
    on_gpu: bool

    def load(self, asked: ModelSettings, source: str, lengths: Lengths, seed: int) -> Policy:
        """Load base model and tokenizer from a folder or Hub id, ready for the trainer; `seed` is the adapter's."""
        ...

    def weights_of(self, asked: ModelSettings) -> str:
        """The Hub id or folder that the weights come from: what was asked for, or the engine's own copy of it."""
        ...

    def grpo_fields(self, asked: ModelSettings, policy: Policy, lengths: Lengths, temperature: float) -> dict[str, Any]:
        """The GRPOConfig fields that depend on engine and device."""
        ...

    def rolls_out_with_vllm(self, asked: ModelSettings) -> bool:
        """Whether vLLM samples the completions, in this process or as a server."""
        ...

    def generate(self, policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
        """Complete each prompt once with the policy as it stands now."""
        ...

    def save_adapter(self, policy: Policy, folder: Path) -> None:
        """Write the LoRA adapter (safetensors) and the tokenizer."""
        ...

    def save_merged_16bit(self, policy: Policy, adapter: Path, folder: Path) -> None:
        """Write base plus adapter as one 16-bit model (safetensors) and the tokenizer."""
        ...


@dataclass
class Choice:
    """A backend with the reason for it."""

    backend: Backend
    why: str


def has_vllm_inside(backend: Backend, asked: ModelSettings) -> bool:
    """Whether vLLM samples in this process, on the card that trains."""
    return backend.rolls_out_with_vllm(asked) and asked.vllm_mode == "colocate"


def count_4bit(model: Any) -> int:
    """Linear layers in 4-bit, by type; PEFT's wrapper of the same name does not count."""
    kinds = (type(module) for module in model.modules())
    return sum(kind.__name__ == "Linear4bit" and kind.__module__.startswith("bitsandbytes") for kind in kinds)


def verify_4bit(model: Any, wanted: bool) -> int:
    """Count NF4 layers by their type; a flag proves nothing, since loaders fall back to 16-bit with a print.

    Raises:
        BackendError: 4-bit was asked for and no layer is 4-bit, or the other way round.
    """
    n = count_4bit(model)
    if wanted and n == 0:
        raise BackendError(
            "load_in_4bit was asked for and no layer is 4-bit", "bitsandbytes NF4", "run: toolkit doctor"
        )
    if not wanted and n:
        raise BackendError(
            f"{n} layers are 4-bit though load_in_4bit is off", "a 16-bit checkpoint", "use the base repo"
        )
    return n


def check_tokenizer(policy: Policy) -> None:
    """Render one prompt, as training will; a tokenizer without a padding token gets its end token, as TRL does.

    Raises:
        ModelError: no chat template, one that refuses the prompt (as Gemma 2's does a system message), or a tokenizer
            that makes no tokens (its files are missing).
    """
    from jinja2 import TemplateError

    if not policy.tokenizer.chat_template:
        raise ModelError(f"{policy.source} has no chat template", "an instruct model, or one with chat_template.jinja")
    if policy.tokenizer.pad_token is None:  # Llama 3 and Mistral have none
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    prompt = messages("What is 2 plus 3?")
    try:
        text = policy.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        found = f"the chat template of {policy.source} refuses the prompt ({error})"
        raise ModelError(found, "one that takes a system and a user message", "choose another model") from error
    if len(policy.tokenizer(text, add_special_tokens=False)["input_ids"]) < 4:
        raise ModelError(f"{policy.source}: its tokenizer makes no tokens of a prompt", "a folder with tokenizer.json")


def check_context(policy: Policy, lengths: Lengths) -> None:
    """Refuse prompt and completion budgets that the model's positions cannot hold.

    Raises:
        BackendError: names both budgets and the limit.
    """
    limit = getattr(policy.model.config, "max_position_embeddings", None)
    if limit and lengths.total > limit:
        raise BackendError(
            f"max_prompt_length {lengths.prompt} + max_completion_length {lengths.completion} = {lengths.total} tokens",
            f"at most {limit}, the positions of this model",
            f"for example --max_completion_length {max(1, limit - lengths.prompt)}",
        )
