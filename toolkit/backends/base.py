"""What a recipe asks of an engine, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.compat import attention
from toolkit.data.schema import Messages
from toolkit.settings import Lengths, ModelSettings
from toolkit.units import format_count

if TYPE_CHECKING:
    from toolkit.machine.devices import Gpu


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
    notes: tuple[str, ...] = ()
    """What a user should know about how it was loaded, a line each."""

    @property
    def n_linear_4bit(self) -> int:
        return count_4bit(self.model)

    def weights(self) -> dict[str, str | None]:
        """Where the loaded weights come from: Hub id or folder, and the commit of the Hub's repository."""
        config = self.model.config
        name, commit = getattr(config, "_name_or_path", ""), getattr(config, "_commit_hash", None)
        return {"name": name or self.source, "commit": commit}

    def attention(self, trainer: Any) -> dict[str, str]:
        """The attention of `training` and `rollouts` by the engines' own names; `generate`: the model itself rolls out.

        `trainer` is the policy's, since some engines start with it.
        """
        return {"training": attention.of_training(self.model), "rollouts": attention.of_rollouts(trainer)}

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
    seed: int | None = None
    """Of a temperature above 0: equal seeds and prompts give equal completions. None: as torch's state has it."""


class Backend(ABC):
    """An engine on one card, or on the CPU where `gpu` is None: loads a model and its adapter, generates, saves."""

    name: str

    def __init__(self, gpu: Gpu | None) -> None:
        self.gpu = gpu
        self.told: Callable[[int, int], None] | None = None
        """Told while weights are loaded: tensors done, and of how many."""
        self.on_gpu = gpu is not None

    def import_first(self) -> None:  # noqa: B027 # most engines need nothing
        """Import what must come before transformers, since a reward of the user's own may import that."""

    @abstractmethod
    def load(self, asked: ModelSettings, source: str, lengths: Lengths, seed: int) -> Policy:
        """Load base model and tokenizer from a folder or Hub id, ready for the trainer; `seed` is the adapter's."""

    def batch_size(self, policy: Policy) -> int:
        """Prompts that `generate` is best given at a time."""
        return 32 if self.on_gpu else 64

    def weights_of(self, asked: ModelSettings) -> str:
        """The Hub id or folder that the weights come from: what was asked for, or the engine's own copy of it."""
        return asked.model

    @abstractmethod
    def grpo_fields(self, asked: ModelSettings, policy: Policy, lengths: Lengths, temperature: float) -> dict[str, Any]:
        """The GRPOConfig fields that depend on engine and device."""

    @abstractmethod
    def rolls_out_with_vllm(self, asked: ModelSettings) -> bool:
        """Whether vLLM samples the completions, in this process or as a server."""

    @abstractmethod
    def generate(self, policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
        """Complete each prompt once with the policy as it stands now."""

    @abstractmethod
    def stream(self, policy: Policy, prompt: Messages, sampling: Sampling, tell: Callable[[str], None]) -> Generation:
        """Complete one prompt with the policy as it stands now; `tell` gets the text piece by piece."""

    @abstractmethod
    def load_adapter(self, policy: Policy, folder: Path) -> None:
        """Put a saved LoRA adapter on what `load` gave, to generate with; a ModelError where it does not fit."""

    @abstractmethod
    def save_adapter(self, policy: Policy, folder: Path) -> None:
        """Write the LoRA adapter (safetensors), loadable with `PeftModel.from_pretrained`, and the tokenizer."""

    @abstractmethod
    def save_merged_16bit(self, policy: Policy, adapter: Path, folder: Path) -> None:
        """Write base plus adapter as one 16-bit model (safetensors) and the tokenizer."""


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
