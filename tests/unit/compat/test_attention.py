"""The attention that is told is the one that the engines' own state names, whichever engine it is."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from toolkit.backends.base import Policy
from toolkit.compat import attention


def model(implementation: str = "sdpa") -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=32,
    )  # fmt: skip
    return Qwen2ForCausalLM._from_config(config, attn_implementation=implementation)


def trainer(*backends: str, use_vllm: bool = True) -> Any:
    """With an engine as vLLM 0.31 keeps its layers; tests/engines/test_vllm.py reads a real one."""
    layers = {
        f"layers.{i}": SimpleNamespace(get_attn_backend=lambda name=name: SimpleNamespace(get_name=lambda: name))
        for i, name in enumerate(backends)
    }
    config = SimpleNamespace(compilation_config=SimpleNamespace(static_forward_context=layers))
    engine = SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=config))
    return SimpleNamespace(use_vllm=use_vllm, vllm_generation=SimpleNamespace(llm=engine))


@pytest.mark.parametrize(("implementation", "said"), [("sdpa", "PyTorch's SDPA"), ("eager", "plain PyTorch")])
def test_without_vllm_both_are_the_models_own(implementation: str, said: str) -> None:
    found = Policy(model(implementation), None, "a model").attention(trainer(use_vllm=False))
    assert found == {"training": implementation, "rollouts": "generate"}
    assert attention.sentence(**found) == f"attention: {said} in training and rollouts"


def test_unsloths_choice_counts_where_its_forward_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

    dispatch = SimpleNamespace(select_attention_backend=lambda: "xformers")
    monkeypatch.setitem(sys.modules, "unsloth.utils.attention_dispatch", dispatch)
    ours = Policy(model(), None, "a model")
    assert ours.attention(trainer("FLASHINFER"))["training"] == "sdpa", "as in its CPU mode, and for what it has no own"

    def fast_forward(self: Any) -> None: ...

    fast_forward.__module__ = "unsloth.models.llama"
    monkeypatch.setattr(Qwen2Attention, "forward", fast_forward)
    found = ours.attention(trainer("FLASHINFER", "FLASHINFER"))
    assert attention.sentence(**found) == "attention: xformers in training, FlashInfer in rollouts"


def test_a_release_that_keeps_it_elsewhere_costs_the_record_and_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    other = trainer()
    assert attention.of_rollouts(other) == "unknown"
    other.vllm_generation.llm = SimpleNamespace()
    assert attention.of_rollouts(other) == "unknown"
    del other.vllm_generation.llm
    assert attention.sentence("sdpa", attention.of_rollouts(other)).endswith("what the server takes in rollouts")
