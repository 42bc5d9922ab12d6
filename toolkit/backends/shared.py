"""What both engines in this process do alike: generating, saving, the device's settings, checks of what was loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends.base import Backend, Generation, Policy, Sampling, count_4bit
from toolkit.compat.bitsandbytes import keep_gradients_on_cpu
from toolkit.data.prompts import rendered
from toolkit.data.schema import Messages, messages
from toolkit.errors import BackendError, ModelError, first_line
from toolkit.settings import ALL_LINEAR, Lengths, ModelSettings

if TYPE_CHECKING:
    from toolkit.machine.devices import Gpu


class InThisProcess(Backend):
    """Generates and saves as transformers and PEFT do, unless an engine has its own way."""

    def could_use_vllm(self) -> bool:
        """Whether there is a card, and vLLM is installed."""
        return self.on_gpu and importlib.util.find_spec("vllm") is not None

    def generate(self, policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
        """The model's own `generate`, in batches of similar prompt length."""
        with in_eval_mode(policy.model), seeded(sampling.seed):
            return generate_with_transformers(policy, prompts, sampling)

    def stream(self, policy: Policy, prompt: Messages, sampling: Sampling, tell: Callable[[str], None]) -> Generation:
        """By the model's own `generate`, as `generate` does it."""
        with in_eval_mode(policy.model):
            return stream_with_transformers(policy, prompt, sampling, tell)

    def load_adapter(self, policy: Policy, folder: Path) -> None:
        """By PEFT: around a bare base, or into the adapter that the engine has made already."""
        from peft import PeftModel, set_peft_model_state_dict
        from safetensors.torch import load_file

        try:
            if policy.peft_config is not None:
                policy.model = PeftModel.from_pretrained(policy.model, str(folder))
                policy.peft_config = None
            else:
                set_peft_model_state_dict(policy.model, load_file(folder / "adapter_model.safetensors"))
        except Exception as error:  # PEFT raises ValueError for a missing layer, torch RuntimeError for shapes
            found = f"the adapter in {folder} does not fit {policy.source} ({first_line(error)})"
            raise ModelError(found, "the base that it was trained on", "name it: --base MODEL") from error

    def save_adapter(self, policy: Policy, folder: Path) -> None:
        """PEFT's own layout."""
        policy.model.save_pretrained(str(folder))
        policy.tokenizer.save_pretrained(str(folder))

    def save_merged_16bit(self, policy: Policy, adapter: Path, folder: Path) -> None:
        """The base is loaded again in 16 bit on the CPU: merging into NF4 weights would keep their rounding error."""
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        dtype = torch.float16 if policy.dtype == "float16" else torch.bfloat16
        base = AutoModelForCausalLM.from_pretrained(
            policy.source, dtype=dtype, device_map={"": "cpu"}, trust_remote_code=False, use_safetensors=True
        )
        merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload(safe_merge=True)
        merged.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)


def dtype_name(gpu: Gpu | None) -> str:
    """float32 on a CPU (autocast there doubles the step), bfloat16 from Ampere on, else float16."""
    return "float32" if gpu is None else "bfloat16" if gpu.has_bf16 else "float16"


def device_fields(gpu: Gpu | None, asked: ModelSettings) -> dict[str, Any]:
    """GRPOConfig fields for the device; both bf16 and gradient checkpointing default to on in TRL."""
    dtype = dtype_name(gpu)
    return {
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": gpu is None,
        "gradient_checkpointing": asked.gradient_checkpointing != "none",
        "dataloader_pin_memory": gpu is not None,
    }


def linear_targets(asked: ModelSettings) -> tuple[str, ...]:
    """The layers to adapt; `all-linear` is the seven projections, since TRL refuses an adapter on the head."""
    return ALL_LINEAR if asked.target_modules == ("all-linear",) else asked.target_modules


def check_base(model: Any, asked: ModelSettings, *, on_gpu: bool) -> None:
    """Hold a base model that was loaded against what was asked for, and make its 4-bit layers trainable on a CPU.

    NF4 layers are counted by their type; a flag proves nothing, since loaders fall back to 16-bit with a print.

    Raises:
        BackendError: 4-bit was asked for and no layer is 4-bit, or the other way round; a target module names no layer
            of the model, or there is none.
    """
    n = count_4bit(model)
    if asked.load_in_4bit and n == 0:
        found = "load_in_4bit was asked for and no layer is 4-bit"
        raise BackendError(found, "bitsandbytes NF4", "run: toolkit doctor")
    if not asked.load_in_4bit and n:
        found = f"{n} layers are 4-bit though load_in_4bit is off"
        raise BackendError(found, "a 16-bit checkpoint", "use the base repo")
    if not on_gpu:
        keep_gradients_on_cpu(model)
    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    some = f"some of {', '.join(sorted(leaf for leaf in leaves if leaf.endswith('_proj')))}"
    if not linear_targets(asked):
        raise BackendError("--target_modules names no layer", some)
    for target in linear_targets(asked):
        if target not in leaves:
            raise BackendError(f"--target_modules {target}: the model has no such layer", some)


def check_prompts(policy: Policy, lengths: Lengths) -> None:
    """Render one prompt, as training will, and hold the budgets of prompt and completion against the model's positions.

    A tokenizer without a padding token gets its end token, as TRL does.

    Raises:
        ModelError: no chat template, one that refuses the prompt, even without a system message (as Gemma 2's takes
            it), or a tokenizer that makes no tokens (its files are missing).
        BackendError: more tokens than positions; names both budgets and the limit.
    """
    from jinja2 import TemplateError

    if not policy.tokenizer.chat_template:
        raise ModelError(f"{policy.source} has no chat template", "an instruct model, or one with chat_template.jinja")
    if policy.tokenizer.pad_token is None:  # Llama 3 and Mistral have none
        policy.tokenizer.pad_token = policy.tokenizer.eos_token
    prompt = messages("What is 2 plus 3?")
    try:
        text, _ = rendered(policy.tokenizer, prompt)
    except TemplateError as error:
        found = f"the chat template of {policy.source} refuses the prompt ({error})"
        raise ModelError(found, "one that takes a user message", "choose another model") from error
    if len(policy.tokenizer(text, add_special_tokens=False)["input_ids"]) < 4:
        raise ModelError(f"{policy.source}: its tokenizer makes no tokens of a prompt", "a folder with tokenizer.json")
    limit = getattr(policy.model.config, "max_position_embeddings", None)
    if limit and lengths.total > limit:
        raise BackendError(
            f"max_prompt_length {lengths.prompt} + max_completion_length {lengths.completion} = {lengths.total} tokens",
            f"at most {limit}, the positions of this model",
            f"for example --max_completion_length {max(1, limit - lengths.prompt)}",
        )


@contextmanager
def in_eval_mode(model: Any) -> Iterator[None]:
    """Evaluate without dropout and gradients, and put the mode back: the trainer goes on with this object."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from a seed of its own, and put torch's state back; with None draw on from it as it is."""
    if seed is None:
        yield
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def generate_with_transformers(policy: Policy, prompts: Sequence[Messages], sampling: Sampling) -> list[Generation]:
    """Generate with the model's own `generate`, left-padded; results in the order of `prompts`."""
    import torch

    tokenizer, model = policy.tokenizer, policy.model
    texts = [tokenizer.apply_chat_template(p, add_generation_prompt=True, tokenize=False) for p in prompts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    results: dict[int, Generation] = {}
    how = _how(policy, sampling)
    for start in range(0, len(order), sampling.batch_size):
        batch = order[start : start + sampling.batch_size]
        inputs = tokenizer([texts[i] for i in batch], return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = {k: v.to(model.device) for k, v in inputs.items() if k in ("input_ids", "attention_mask")}
        output = model.generate(**inputs, **how)
        completions = output[:, inputs["input_ids"].shape[1] :]
        ends = torch.tensor(_eos_ids(policy), device=completions.device)
        for i, ids in zip(batch, completions, strict=True):
            results[i] = _generation(policy, ids, ends)
    return [results[i] for i in range(len(prompts))]


def _how(policy: Policy, sampling: Sampling) -> dict[str, Any]:
    """The arguments of `generate` beside the prompt."""
    sample = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
    how: dict[str, Any] = sample if sampling.temperature > 0 else {"do_sample": False}
    # What is not said comes from the model's generation_config, and an instruct model's may penalise repetition; TRL's
    # rollouts and vLLM's SamplingParams do not, so the measurement would be of another policy
    how |= {"repetition_penalty": 1.0, "pad_token_id": policy.tokenizer.pad_token_id}
    return how | {"max_new_tokens": sampling.max_completion_length, "use_cache": True}


def _generation(policy: Policy, ids: Any, ends: Any) -> Generation:
    """What one row of generated ids says, up to the first of `ends`."""
    import torch

    stops = torch.isin(ids, ends).nonzero()
    n_tokens = int(stops[0]) + 1 if len(stops) else len(ids)
    text = policy.tokenizer.decode(ids[:n_tokens], skip_special_tokens=True)
    return Generation(text, n_tokens, is_truncated=len(stops) == 0)


def stream_with_transformers(
    policy: Policy, prompt: Messages, sampling: Sampling, tell: Callable[[str], None]
) -> Generation:
    """Complete one prompt, and hand each new piece of the text to `tell` as soon as its characters are whole."""
    import torch

    tokenizer, model = policy.tokenizer, policy.model
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    inputs = tokenizer([text], return_tensors="pt", add_special_tokens=False)
    inputs = {k: v.to(model.device) for k, v in inputs.items() if k in ("input_ids", "attention_mask")}
    output = model.generate(**inputs, **_how(policy, sampling), streamer=_Pieces(tokenizer, tell))
    ids = output[0, inputs["input_ids"].shape[1] :]
    return _generation(policy, ids, torch.tensor(_eos_ids(policy), device=ids.device))


class _Pieces:
    """A streamer as `generate` wants it: the first ids that it gets are the prompt."""

    def __init__(self, tokenizer: Any, tell: Callable[[str], None]) -> None:
        self._tokenizer, self._tell = tokenizer, tell
        self._ids: list[int] | None = None
        self._n_told = 0

    def put(self, value: Any) -> None:
        if self._ids is None:
            self._ids = []
            return
        self._ids += value.reshape(-1).tolist()
        self._tell_rest(is_whole=False)

    def end(self) -> None:
        self._tell_rest(is_whole=True)

    def _tell_rest(self, *, is_whole: bool) -> None:
        text = self._tokenizer.decode(self._ids or [], skip_special_tokens=True)
        if not is_whole:
            text = text.rstrip("\ufffd")  # a character whose other bytes are still to come
        if len(text) > self._n_told:
            self._tell(text[self._n_told :])
            self._n_told = len(text)


def _eos_ids(policy: Policy) -> list[int]:
    """Every token id that ends a completion: the model's list and the tokenizer's own."""
    declared = policy.model.generation_config.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    return sorted({i for i in [*ids, policy.tokenizer.eos_token_id] if i is not None})


def prompt_ids(tokenizer: Any, prompts: Sequence[Messages]) -> list[list[int]]:
    """Token ids as TRL's rollouts take them. Text would get a second BOS where tokenizers add one (Llama 3's does)."""
    rendered = tokenizer.apply_chat_template(
        list(prompts), add_generation_prompt=True, tokenize=True, return_dict=True, padding=False
    )
    return rendered["input_ids"]
