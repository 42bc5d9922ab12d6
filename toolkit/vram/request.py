"""What is to be planned, by the flags of `toolkit plan`: under TRL's, PEFT's, vLLM's and Unsloth's names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

from toolkit.errors import SettingsError
from toolkit.settings.batch import Batch, solve

VLLM_MAX_LORA_RANK = 512  # vllm 0.31, config/lora.py
UNSLOTH_OFFLOADS_FROM = 512  # max_seq_length (unsloth 2026.10.9, models/_utils.py)


@dataclass(frozen=True)
class Request:
    """One run on one card: everything that its memory depends on."""

    model: str = "Qwen/Qwen2.5-3B-Instruct"
    """Hub id (of the built-in table, or in the local cache), `embedded`, a model folder, or a config.json."""
    gpu: str | None = None
    """Card by name (`4090`, `RTX 3060`, `a100-80gb`) or its usable GiB; without one the plan says how much it takes."""
    task: Literal["grpo", "sft"] = "grpo"
    """What is trained; with `sft` every sequence is exactly max_seq_length long."""
    method: Literal["qlora", "lora", "full"] = "qlora"
    """LoRA over a 4-bit base or over a 16-bit one, or all weights."""
    framework: Literal["unsloth", "trl"] = "unsloth"
    """Whose trainer and loaders."""
    lora_rank: int = 32
    """Rank r of the adapter."""
    lora_targets: str = "all-linear"
    """Adapted layers: names, or short forms such as `q,k,v,o`, `all-linear`."""
    per_device_train_batch_size: int = 8
    """Sequences in one forward pass of the update."""
    num_generations: int = 8
    """Completions a prompt."""
    gradient_accumulation_steps: int = 4
    """Forward passes summed into one optimizer step."""
    steps_per_generation: int | None = None
    """Forward passes fed by one round of rollouts; None: gradient_accumulation_steps."""
    max_prompt_length: int = 512
    """Longest prompt in tokens."""
    max_completion_length: int = 1024
    """Longest completion in tokens."""
    max_seq_length: int = 2048
    """Tokens of every sequence (sft)."""
    gradient_checkpointing: Literal["none", "hf", "unsloth"] | None = None
    """Recomputation; None: unsloth with unsloth, hf with trl."""
    optim: Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit"] = "adamw_8bit"
    """Optimizer."""
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Type of the computation, and of weights that are not in 4 bit."""
    attention: Literal["flash", "sdpa", "eager"] = "sdpa"
    """Attention kernel: sdpa takes a bias for sequences of different length, eager keeps every score."""
    loss_head: Literal["chunked", "logits", "unsloth"] | None = None
    """How log-probabilities are computed; None: unsloth with unsloth, chunked with trl."""
    generation: Literal["vllm", "hf"] = "vllm"
    """What rolls out."""
    gpu_memory_utilization: float = 0.6
    """Share of the card that vLLM may take, 0 to 1."""
    standby: bool = False
    """Free vLLM's KV cache during the update: Unsloth's standby, TRL's vllm_enable_sleep_mode."""
    beta: float = 0.0
    """Weight of the KL term; above 0 a reference pass runs: the base with the adapter off, or a copy of all weights."""
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    """Type of the KV cache."""
    upcast_embeddings: bool = False
    """Embedding and head in float32, as `prepare_model_for_kbit_training` leaves them."""
    bnb_4bit_use_double_quant: bool = True
    """Quantise the constants of NF4, too."""

    @property
    def checkpointing(self) -> Literal["none", "hf", "unsloth"]:
        """What is in force: below 512 tokens Unsloth keeps checkpoints on the card, whatever was asked."""
        chosen = self.gradient_checkpointing or ("unsloth" if self.framework == "unsloth" else "hf")
        return "hf" if chosen == "unsloth" and self.max_model_len < UNSLOTH_OFFLOADS_FROM else chosen

    @property
    def head(self) -> Literal["chunked", "logits", "unsloth"]:
        """The loss head in force."""
        return self.loss_head or ("unsloth" if self.framework == "unsloth" else "chunked")

    @property
    def is_plain_loop(self) -> bool:
        """`--task sft --loss_head logits` stands for a hand-written training loop with transformers' own loss: TRL 1.15
        has no such path."""
        return self.task == "sft" and self.head == "logits"

    @property
    def rolls_out_with_vllm(self) -> bool:
        """vLLM works in the training process."""
        return self.task == "grpo" and self.generation == "vllm"

    @property
    def engine_sets_its_share(self) -> bool:
        """Unsloth's standby takes vLLM's share of the card from a table of its own, whatever was asked for."""
        return self.standby and self.framework == "unsloth"

    @property
    def max_model_len(self) -> int:
        """Tokens of the longest sequence."""
        return self.max_seq_length if self.task == "sft" else self.max_prompt_length + self.max_completion_length

    @property
    def length_name(self) -> str:
        """The flag that sets how long a sequence gets."""
        return "max_seq_length" if self.task == "sft" else "max_completion_length"

    @property
    def length(self) -> int:
        """Its value: tokens of the longest completion, or of a sequence in SFT."""
        return getattr(self, self.length_name)

    def with_length(self, tokens: int) -> Self:
        """The same with another `length`."""
        return replace(self, **{self.length_name: tokens})

    @property
    def batch(self) -> Batch:
        """Completions, prompts and passes of one round of rollouts."""
        return Batch.of(self)


def check(request: Request) -> None:
    """Refuse flags that contradict each other or cannot be, with a SettingsError that names what would do."""
    error = next(_contradictions(request), None)
    if error is not None:
        raise error
    if request.task == "grpo":
        solve(request)


def _contradictions(r: Request) -> Iterator[SettingsError]:
    for name in (
        *("lora_rank", "per_device_train_batch_size", "gradient_accumulation_steps", "max_prompt_length"),
        *("max_completion_length", "max_seq_length"),
    ):
        if getattr(r, name) < 1:
            yield SettingsError(f"--{name} is {getattr(r, name)}", "at least 1")
    if not 0.05 <= r.gpu_memory_utilization <= 0.98:
        yield SettingsError(f"--gpu_memory_utilization is {r.gpu_memory_utilization}", "a value from 0.05 to 0.98")
    if r.framework == "trl" and r.gradient_checkpointing == "unsloth":
        found = "--gradient_checkpointing unsloth with --framework trl"
        yield SettingsError(found, "hf or none", "or --framework unsloth")
    if r.framework == "trl" and r.loss_head == "unsloth":
        yield SettingsError("--loss_head unsloth with --framework trl", "chunked or logits", "or --framework unsloth")
    if r.steps_per_generation is not None and r.steps_per_generation < 1:
        yield SettingsError(f"--steps_per_generation is {r.steps_per_generation}", "at least 1")
    if not 0 <= r.beta < math.inf:
        yield SettingsError(f"--beta is {r.beta}", "0 or more")
    if r.generation == "hf" and r.kv_cache_dtype == "fp8":
        yield SettingsError("--kv_cache_dtype fp8 with --generation hf", "vllm, whose cache it is", "drop one of them")
    vllm_loads_lora = r.rolls_out_with_vllm and r.framework == "unsloth" and r.method != "full"
    if vllm_loads_lora and r.lora_rank > VLLM_MAX_LORA_RANK:
        yield SettingsError(f"--lora_rank is {r.lora_rank}", f"at most {VLLM_MAX_LORA_RANK}, vLLM's largest")
    if r.standby and r.generation == "hf":
        yield SettingsError("--standby with --generation hf", "vllm, whose cache standby frees", "drop one of them")
    if r.task == "grpo" and r.num_generations < 2:
        yield SettingsError(f"--num_generations is {r.num_generations}", "at least 2")
