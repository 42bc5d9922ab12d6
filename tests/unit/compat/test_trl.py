"""The stand-in for TRL's kernel gives its numbers, and the private names we rely on are there."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
import trl.trainer.utils as trl_utils
from trl.trainer.grpo_trainer import GRPOTrainer

from toolkit.compat import trl as compat
from toolkit.errors import ContractError


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("max_elements", [compat.MAX_LOGIT_ELEMENTS, 40])
def test_the_stand_in_against_the_definition(
    softcap: float | None, max_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "MAX_LOGIT_ELEMENTS", max_elements)
    torch.manual_seed(0)
    hidden = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 4, dtype=torch.float64, requires_grad=True)
    bias, targets = torch.randn(11, dtype=torch.float64), torch.randint(0, 11, (7,))
    logits = (hidden @ weight.T + bias).float() * 0.5
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits / 0.7
    probs = logits.softmax(-1)
    expected = (
        probs[range(7), targets].log(),
        -(probs * probs.log()).sum(-1),
        (probs**2).sum(-1).log(),
        logits.mean(-1),
        logits.argmax(-1) == targets,
    )
    got = compat.ChunkedLogProb.apply(hidden, weight, bias, targets, 0.7, 32768, softcap, 0.5)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    grads = torch.autograd.grad(expected[0].sum() + expected[1].sum(), (hidden, weight))
    assert got[0] is not None
    assert got[1] is not None
    ours = torch.autograd.grad(got[0].sum() + got[1].sum(), (hidden, weight))
    torch.testing.assert_close(ours, grads, rtol=1e-5, atol=1e-5)


def test_only_what_is_asked_for_is_computed() -> None:
    got = compat.ChunkedLogProb.apply(
        torch.randn(3, 4), torch.randn(5, 4), None, torch.tensor([0, 1, 2]), 1.0, 8, outputs=()
    )
    assert [x is None for x in got] == [False, True, True, True, True]


def test_trl_still_calls_the_kernel_by_the_name_that_is_replaced() -> None:
    source = inspect.getsource(trl_utils)
    assert "_ChunkedLogProbFunction.apply(" in source
    order = ["hidden_states[mask]", "weight", "bias", "labels[mask]", "temperature", "_CHUNKED_LOGPROB_CHUNK_SIZE"]
    call = source.split("_ChunkedLogProbFunction.apply(")[1].split(")\n")[0]
    assert [part.strip() for part in call.split(",")][:6] == order


def test_the_wrapped_methods_have_the_arguments_we_read() -> None:
    assert list(inspect.signature(GRPOTrainer._calculate_rewards).parameters) == [
        "self", "inputs", "prompts", "completions", "completion_ids_list",
    ]  # fmt: skip
    assert list(inspect.signature(GRPOTrainer._generate).parameters) == ["self", "prompts"]


def test_trl_tells_a_truncated_completion_as_we_do() -> None:
    source = inspect.getsource(GRPOTrainer)
    assert "eos_and_pad = [*self.eos_token_ids, self._tokenizer.pad_token_id]" in source
    assert "is_truncated = torch.tensor([ids[-1] not in eos_and_pad for ids in completion_ids]" in source
    trainer = SimpleNamespace(eos_token_ids=[2, 3], processing_class=SimpleNamespace(pad_token_id=0))
    assert compat.ending_ids(trainer) == {0, 2, 3}


def test_a_method_that_is_gone_is_an_error_and_not_silence() -> None:
    with pytest.raises(ContractError, match="has no _calculate_rewards"):
        compat.wrap_method(object(), compat.CALCULATE_REWARDS, lambda method: method)


@pytest.mark.parametrize(("fp16", "dtype"), [(True, torch.float32), (False, torch.bfloat16)])
def test_under_fp16_the_adapter_is_trained_in_float32_beside_the_frozen_base(fp16: bool, dtype: torch.dtype) -> None:
    assert "param.data = param.data.to(torch.bfloat16)" in inspect.getsource(GRPOTrainer.__init__)  # the cause
    base, adapter = torch.nn.Linear(2, 2, dtype=torch.float16), torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    base.requires_grad_(False)
    compat.train_in_float32(SimpleNamespace(model=torch.nn.Sequential(base, adapter), args=SimpleNamespace(fp16=fp16)))
    assert (base.weight.dtype, adapter.weight.dtype) == (torch.float16, dtype)
