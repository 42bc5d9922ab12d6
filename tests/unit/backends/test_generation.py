"""Prompts reach every engine as TRL's rollouts take them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from toolkit.backends import unsloth
from toolkit.backends.base import Policy, Sampling
from toolkit.backends.shared import prompt_ids

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }} {% endfor %}"
ASKED = [{"role": "user", "content": "two three"}]


def tokenizer_that_adds_bos() -> Any:
    """As Llama 3's: the template writes the BOS, and text that is tokenized gets one, too."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"<s>": 0, "two": 1, "three": 2, "?": 3}, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue] # a property in Rust
    raw.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", unk_token="?", chat_template=TEMPLATE)


def test_vllm_measures_the_prompt_that_trl_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_that_adds_bos()
    trained = tokenizer.apply_chat_template(ASKED, tokenize=True, return_dict=True)["input_ids"]
    assert trained == [0, 1, 2]
    assert tokenizer(tokenizer.apply_chat_template(ASKED, tokenize=False))["input_ids"] == [0, 0, 1, 2]

    given: list[Any] = []

    def fast_generate(prompts: list[Any], **arguments: Any) -> list[Any]:
        given.extend(prompts)
        answer = SimpleNamespace(token_ids=[1], finish_reason="stop")
        return [SimpleNamespace(outputs=[answer])] * len(prompts)

    monkeypatch.setattr(unsloth, "_sampling_params", lambda policy, temperature, **more: None)
    model = SimpleNamespace(fast_generate=fast_generate, load_lora=lambda *_, **__: None, vllm_engine=object())
    policy = Policy(model, tokenizer, "a model")
    unsloth.UnslothBackend(None).generate(policy, [ASKED, ASKED], Sampling(max_completion_length=8))
    assert given == [{"prompt_token_ids": trained}] * 2
    assert prompt_ids(tokenizer, [ASKED]) == [trained]
