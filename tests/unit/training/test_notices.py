"""What is said before the first step: sampling that biases the update, and settings that nobody listens to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from toolkit.settings import GrpoSettings
from toolkit.settings.resolved import Resolved
from toolkit.training.notices import idle_settings, why_idle
from toolkit.training.sampling import biased_sampling


def trainer_with(generation_kwargs: dict[str, Any] | None = None, **changed: Any) -> Any:
    """What a GRPOTrainer shows of its sampling: its own copies of four fields, and the arguments."""
    own = {"temperature": 0.9, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0} | changed
    return SimpleNamespace(args=SimpleNamespace(generation_kwargs=generation_kwargs), **own)


@pytest.mark.parametrize(
    "trainer",
    [
        trainer_with(),
        trainer_with({"top_k": -1, "min_p": 0.0, "bad_words_ids": [], "temperature": 0.9, "do_sample": True}),
        trainer_with({"top_p": 1.0}, top_p=0.5),
        trainer_with({"stop_strings": "x", "max_new_tokens": 5}),
    ],
    ids=["defaults", "neutral values", "generation_kwargs win", "what only ends a completion"],
)
def test_sampling_from_the_policy_itself_needs_no_word(trainer: Any) -> None:
    assert biased_sampling(trainer) == []


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (trainer_with(top_p=0.9), ["top_p 0.9"]),
        (trainer_with({"top_p": 0.8}, top_p=0.9), ["top_p 0.8"]),
        (trainer_with(top_k=20, min_p=0.1), ["top_k 20", "min_p 0.1"]),
        (trainer_with(repetition_penalty=1.1), ["repetition_penalty 1.1"]),
        (trainer_with({"do_sample": False}), ["do_sample False"]),
        (trainer_with({"typical_p": 0.9, "bad_words": ["x"]}), ["typical_p 0.9", "bad_words ['x']"]),
        (trainer_with({"temperature": 0.7}), ["temperature 0.7 (the trainer's is 0.9)"]),
    ],
)
def test_sampling_from_something_else_is_named(trainer: Any, said: list[str]) -> None:
    assert biased_sampling(trainer) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (set(), []),
        ({"seed"}, []),
        ({"standby", "gpu_memory_utilization"}, ["gpu_memory_utilization 0.6", "standby True"]),
    ],
)
def test_settings_of_vllm_are_named_when_a_person_gave_them(given: set[str], said: list[str]) -> None:
    assert idle_settings(Resolved.of(GrpoSettings(), frozenset(given))) == said


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"use_vllm": False}, "without vLLM, which this run does not use"),
        ({"use_cpu": True}, "on vLLM's CPU engine"),
        ({"vllm_mode": "server"}, "on a vLLM server, which was given its own"),
        ({}, ""),
    ],
    ids=["no vLLM", "CPU", "server", "card"],
)
def test_settings_of_vllm_act_on_a_card_of_this_process_only(changed: dict[str, Any], why: str) -> None:
    args = {"use_vllm": True, "use_cpu": False, "vllm_mode": "colocate"} | changed
    assert why_idle(SimpleNamespace(**args)) == why
