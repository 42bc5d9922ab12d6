"""Greedy completions of the embedded model: what is measured is the policy, and nothing that its files add to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from toolkit.backends.base import Generation, Policy, Sampling
from toolkit.backends.shared import generate_with_transformers, in_eval_mode
from toolkit.data import arithmetic
from toolkit.data.schema import Messages, messages
from toolkit.models import embedded

PROMPTS = [messages(row["question"]) for row in arithmetic.load(1, 24, seed=0).held_out]


def load(folder: Path) -> Policy:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    return Policy(model, AutoTokenizer.from_pretrained(folder, padding_side="left"), str(folder))


def complete(policy: Policy, prompts: list[Messages] = PROMPTS, **sampling: int) -> list[Generation]:
    with in_eval_mode(policy.model):
        return generate_with_transformers(policy, prompts, Sampling(**{"max_completion_length": 48, **sampling}))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load(embedded.folder())


@pytest.fixture(scope="module")
def completions(policy: Policy) -> list[Generation]:
    return complete(policy)


def test_the_models_own_sampling_settings_are_left_out(completions: list[Generation], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(embedded.folder(), folder)
    config = folder / "generation_config.json"
    own = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 5.0}
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    assert complete(load(folder)) == completions


def test_the_order_is_that_of_the_prompts_whatever_the_batch(policy: Policy, completions: list[Generation]) -> None:
    assert len({generation.text for generation in completions}) > 12
    assert complete(policy, batch_size=5) == completions
    assert complete(policy, PROMPTS[3:4]) == completions[3:4]


def test_a_completion_is_truncated_where_it_did_not_end_by_itself(
    policy: Policy, completions: list[Generation]
) -> None:
    assert not any(generation.is_truncated for generation in completions)
    limit = sorted(generation.n_tokens for generation in completions)[12]
    shorter = complete(policy, max_completion_length=limit)
    assert [g.is_truncated for g in shorter] == [g.n_tokens > limit for g in completions]
    assert [g.n_tokens for g in shorter] == [min(g.n_tokens, limit) for g in completions]
    assert all(whole.text.startswith(cut.text) for cut, whole in zip(shorter, completions, strict=True))
