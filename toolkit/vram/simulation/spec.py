"""What a training step is, and what its simulation answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from toolkit.errors import SettingsError, did_you_mean

Quantization = Literal["nf4", "none"]
Checkpointing = Literal["none", "hf", "offload"]
Head = Literal["trl", "logits", "unsloth"]
Dtype = Literal["bfloat16", "float16", "float32"]
Optimizer = Literal["adamw_torch_fused", "adamw_torch", "none"]

_CHOICES = {
    "quantization": Quantization,
    "checkpointing": Checkpointing,
    "head": Head,
    "dtype": Dtype,
    "optimizer": Optimizer,
}
_COUNTS = ("rank", "batch", "prompt", "completion")


@dataclass(frozen=True)
class StepSpec:
    """One optimizer step of GRPO over LoRA adapters, as TRL 1.15 drives it on one card.

    Raises:
        SettingsError: a choice that does not exist, a count below one, no adapter targets, or a config without
            `model_type`.
    """

    config: Mapping[str, Any]
    """A transformers config as a dict, the content of a `config.json`; only `model_type` is required."""
    quantization: Quantization
    """`nf4`: every linear layer but the head in 4 bits with double quantisation; `none`: all in `dtype`."""
    rank: int
    targets: tuple[str, ...]
    """Module names for PEFT: `("q_proj", "v_proj")`, or `("all-linear",)`."""
    batch: int
    """Sequences in one backward pass (`per_device_train_batch_size`)."""
    prompt: int
    """Prompt tokens a sequence."""
    completion: int
    """Completion tokens a sequence; only these are scored."""
    padded: bool = False
    """Whether a sequence is shorter than the longest: attention then takes a mask, and another kernel."""
    checkpointing: Checkpointing = "hf"
    """`hf`: layer inputs stay on the card; `offload`: they wait on the host, as Unsloth keeps them."""
    head: Head = "trl"
    """`trl`: 4096 x 32768 tiles; `logits`: all of the completions' logits; `unsloth`: one chunk a sequence."""
    dtype: Dtype = "bfloat16"
    optimizer: Optimizer = "adamw_torch"
    """Transformers' names; the two differ by foreach's temporaries, which lead only in tiny steps."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value, known = getattr(self, name), get_args(choices)
            if value not in known:
                raise SettingsError(f"{name} {value!r}", did_you_mean(str(value), known) or " or ".join(known))
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} {getattr(self, name)}", "a whole number from 1")
        if not self.targets:
            raise SettingsError("no adapter targets", "module names such as q_proj, v_proj")
        if "model_type" not in self.config:
            raise SettingsError("a config without model_type", "the content of a model's config.json")


@dataclass(frozen=True)
class SimulatedPeak:
    """The highest moment of the second step, when Adam's moments are resident; all figures in bytes."""

    peak_bytes: int
    load_bytes: int
    """Weights, adapters and buffers once loaded, before the first step."""
    by_part: dict[str, int]
    """What was alive at the peak; sums to `peak_bytes`. Keys: `ledger.PARTS`; `rest` is activations and workspaces."""
    seconds: float
    """Wall time of the answer."""
    phase: str
    """Where the peak fell: forward, backward or optimizer; which of the layers' backward passes."""
