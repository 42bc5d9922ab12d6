"""Unsloth: 4-bit Qwen with patched kernels and in-process vLLM on a GPU, and its official CPU mode.

The CPU mode (Unsloth 2026.10.9, no accelerator) runs the same calls with stock TRL and real NF4; it is how this
module is tested without a card. The GPU branch has never run on a card; its calls are declared in
`toolkit.compat.unsloth` and held against the sources of the installed release before it is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolkit.backends.base import Generation, Messages, Policy, Sampling
from toolkit.backends.shared import (
    InThisProcess,
    check_base,
    check_prompts,
    device_fields,
    dtype_name,
    linear_targets,
    prompt_ids,
)
from toolkit.compat import compiled_cache, standby
from toolkit.compat.noise import hush_bitsandbytes, hush_weight_bars
from toolkit.compat.trl import install_cpu_logprobs
from toolkit.compat.unsloth import check_before_loading
from toolkit.compat.unsloth_names import loaded_for
from toolkit.compat.unsloth_rollouts import keep_adapter_apart
from toolkit.errors import BackendError, ContractError, ModelError, first_line
from toolkit.models import embedded
from toolkit.settings import Lengths, ModelSettings

CHECKPOINTING: dict[str, bool | str] = {"none": False, "hf": True, "unsloth": "unsloth"}


class UnslothBackend(InThisProcess):
    """FastLanguageModel; on a GPU with `fast_inference` the rollouts come from vLLM in the same process."""

    name = "unsloth"

    def import_first(self) -> None:
        _import_unsloth()

    def load(self, asked: ModelSettings, source: str, lengths: Lengths, seed: int) -> Policy:
        """Load base and adapter; unsloth is imported here, before trl, transformers and peft.

        An engine with standby sleeps and wakes once, so that what it cannot do is known before anything is measured:
        a StandbyError, which `launch` answers by beginning again without it.
        """
        if asked.use_vllm and not self.on_gpu:
            raise BackendError("--use_vllm true without a CUDA device", "a GPU for unsloth's vLLM", "drop --use_vllm")
        sleeps = asked.standby and self.rolls_out_with_vllm(asked)
        if self.on_gpu:
            check_before_loading(standby=sleeps)
        location = os.environ.get("UNSLOTH_COMPILE_LOCATION")
        notes = compiled_cache.clear_stale(Path(location)) if location and "unsloth" not in sys.modules else []
        fast = _import_unsloth()
        hush_weight_bars(self.told)
        try:
            model, tokenizer = fast.from_pretrained(**self._load_arguments(asked, source, lengths))
        except Exception as error:  # safetensors, tokenizers, transformers and unsloth each raise their own
            found = f"{source} cannot be loaded ({first_line(error)})"
            of_standby = standby.could_not_start(error) if sleeps else None
            raise of_standby or ModelError(found, "a model that unsloth supports") from error
        check_base(model, asked, on_gpu=self.on_gpu)
        model = _add_adapter(fast, model, asked, seed)
        if has_vllm_engine(model):
            keep_adapter_apart(model)
        tokenizer.padding_side = "left"
        install_cpu_logprobs()
        if sleeps and has_vllm_engine(model):
            share = f"{asked.gpu_memory_utilization:.0%}"
            notes += [
                f"standby: Unsloth sets vLLM's share of the card by its own table, not the {share} asked for",
                standby.rehearse(model.vllm_engine),
            ]
        policy = Policy(model, tokenizer, source, dtype=dtype_name(self.gpu), notes=tuple(notes))
        check_prompts(policy, lengths)
        return policy

    def _load_arguments(self, asked: ModelSettings, source: str, lengths: Lengths) -> dict[str, Any]:
        """What `from_pretrained` takes; the four for vLLM only where it will run, since the CPU mode refuses them."""
        import torch

        arguments: dict[str, Any] = {
            "model_name": source,
            "max_seq_length": lengths.total,
            "dtype": None if self.on_gpu else torch.float32,
            "load_in_4bit": asked.load_in_4bit,
            "trust_remote_code": False,
        }
        if self.rolls_out_with_vllm(asked):
            arguments |= {
                "fast_inference": True,
                "max_lora_rank": asked.lora_rank,
                "gpu_memory_utilization": asked.gpu_memory_utilization,
                "disable_log_stats": True,
            }
        return arguments

    def weights_of(self, asked: ModelSettings) -> str:
        """Unsloth's own copy, in 4 or 16 bit, where it has one; a folder is taken as it is."""
        if asked.model == embedded.NAME or os.path.exists(os.path.expanduser(asked.model)):
            return asked.model
        return loaded_for(asked.model, in_4bit=asked.load_in_4bit)

    def grpo_fields(self, asked: ModelSettings, policy: Policy, lengths: Lengths, temperature: float) -> dict[str, Any]:
        """Device fields, and vLLM's sampling parameters where vLLM rolls out."""
        fields = device_fields(self.gpu, asked)
        if asked.gradient_checkpointing != "none":
            # Unsloth has patched the model by now; to set the field would enable transformers' own over it
            del fields["gradient_checkpointing"]
        if has_vllm_engine(policy.model):
            fields |= {"use_vllm": True, "vllm_sampling_params": _sampling_params(policy, temperature)}
        return fields

    def batch_size(self, policy: Policy) -> int:
        """vLLM schedules by itself; so many keep it busy, and a kill loses no more."""
        return 512 if has_vllm_engine(policy.model) else super().batch_size(policy)

    def generate(self, policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
        """vLLM with the current adapter where it runs, else `generate`."""
        if has_vllm_engine(policy.model):
            return _generate_with_vllm(policy, prompts, sampling)
        with _for_inference(policy):
            return super().generate(policy, prompts, sampling)

    def stream(self, policy: Policy, prompt: Messages, sampling: Sampling, tell: Callable[[str], None]) -> Generation:
        """By `generate`; where vLLM runs the text comes in one piece."""
        if has_vllm_engine(policy.model):
            (whole,) = _generate_with_vllm(policy, [prompt], sampling)
            tell(whole.text)
            return whole
        with _for_inference(policy):
            return super().stream(policy, prompt, sampling, tell)

    def save_merged_16bit(self, policy: Policy, adapter: Path, folder: Path) -> None:
        """Unsloth's merge, but of a 4-bit load on a CPU the plain one, since Unsloth refuses to do that there."""
        if policy.n_linear_4bit and not self.on_gpu:
            super().save_merged_16bit(policy, adapter, folder)
            return
        # safe_serialization=None: on two physical cores or fewer the default writes pickles (its own docstring)
        policy.model.save_pretrained_merged(
            str(folder), policy.tokenizer, save_method="merged_16bit", safe_serialization=None
        )
        if not list(folder.glob("*.safetensors")) or list(folder.glob("*.bin")):
            raise BackendError(f"unsloth's merge in {folder} is not all safetensors", "no pickles", "--save adapter")

    def rolls_out_with_vllm(self, asked: ModelSettings) -> bool:
        """On a GPU where vLLM is installed, unless it is not wanted."""
        return asked.use_vllm is not False and self.could_use_vllm()


@contextmanager
def _for_inference(policy: Policy) -> Iterator[None]:
    fast = _import_unsloth()
    was_training = policy.model.training
    fast.for_inference(policy.model)
    try:
        yield
    finally:
        if was_training:
            fast.for_training(policy.model)


def has_vllm_engine(model: Any) -> bool:
    """Say whether Unsloth loaded vLLM beside the model (`fast_inference`)."""
    return getattr(model, "vllm_engine", None) is not None


def _import_unsloth() -> Any:
    late = [name for name in ("trl", "transformers", "peft") if name in sys.modules]
    if late and "unsloth" not in sys.modules:
        raise ContractError(f"{late[0]} was imported before unsloth", "unsloth first: its patches bind at import")
    hush_bitsandbytes()
    try:
        # an extra; and beside this file of the same name, pyright takes it for the package
        from unsloth import FastLanguageModel  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    except (ImportError, RuntimeError, NotImplementedError) as error:
        found = f"unsloth does not import ({error})"
        raise BackendError(found, "the tested versions", "run: toolkit doctor") from error
    hush_weight_bars()
    return FastLanguageModel


def _add_adapter(fast: Any, model: Any, asked: ModelSettings, seed: int) -> Any:
    return fast.get_peft_model(
        model,
        r=asked.lora_rank,
        lora_alpha=asked.lora_alpha,
        lora_dropout=asked.lora_dropout,
        target_modules=list(linear_targets(asked)),
        use_gradient_checkpointing=CHECKPOINTING[asked.gradient_checkpointing],
        random_state=seed,
    )


def _sampling_params(policy: Policy, temperature: float, **more: Any) -> Any:
    """vLLM's sampling, untruncated as its own defaults are.

    Nothing more is named, not even a neutral `top_k=-1`: what differs from those defaults wins over GRPOConfig's fields
    in Unsloth's trainer (`grpo_update_SamplingParams`), so `--grpo.top_k` would silently do nothing.
    """
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports] # an extra

    return SamplingParams(
        temperature=temperature,
        stop=[policy.tokenizer.eos_token],
        include_stop_str_in_output=True,
        **more,
    )


def _generate_with_vllm(policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
    longest = sampling.max_completion_length
    how: Any = _sampling_params(policy, sampling.temperature, max_tokens=longest)
    if sampling.seed is not None:  # a seed each, or one prompt that is asked twice would be answered twice alike
        seeds = range(sampling.seed, sampling.seed + len(prompts))
        how = [_sampling_params(policy, sampling.temperature, max_tokens=longest, seed=seed) for seed in seeds]
    outputs = policy.model.fast_generate(
        [{"prompt_token_ids": ids} for ids in prompt_ids(policy.tokenizer, prompts)],
        sampling_params=how,
        lora_request=policy.model.load_lora("eval_lora", load_tensors=True),
        use_tqdm=False,
    )
    generations = []
    for output in outputs:
        best = output.outputs[0]
        text = policy.tokenizer.decode(best.token_ids, skip_special_tokens=True)
        generations.append(Generation(text, len(best.token_ids), is_truncated=best.finish_reason == "length"))
    return generations
