"""A reward that pays one layout, and a prompt that asks for another: one line before anything loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from toolkit.data import arithmetic
from toolkit.data.prompts import STYLES, ask
from toolkit.data.schema import Row
from toolkit.rewards import correct, format, registry
from toolkit.rewards.bench import asked
from toolkit.rewards.bench.asked import mismatch
from toolkit.settings import DataSettings


def rows(**changes: Any) -> list[Row]:
    return ask(arithmetic.load(8, 1, seed=0), DataSettings(dataset="arithmetic", **changes)).train


def reads_a_box(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """A user's own, which reads messages as TRL passes them."""
    said = [completion[0]["content"] for completion in completions]
    return [float(f"boxed{{{gold}}}" in text) for text, gold in zip(said, answer, strict=True)]


def punishes_length(completions: list[Any], **_: Any) -> list[float]:
    return [-float(len(completion[0]["content"])) for completion in completions]


def pays_for_length(completions: list[Any], **_: Any) -> list[float]:
    """A short answer is long enough in R1's tags alone, which says nothing of the layout."""
    return [float(len(completion[0]["content"]) > 110) for completion in completions]


@pytest.mark.parametrize(
    ("style", "reward", "found"),
    [
        (
            "boxed",
            correct,
            "reward 'correct' reads <answer>, and --prompt_style boxed asks for \\boxed{}; wanted one layout in both; "
            "--prompt_style r1 or --reward correct_boxed, or start anyway with --force.",
        ),
        ("hash", format, "--prompt_style r1 or --reward format_hashes"),
        ("think", correct, "--prompt_style r1 or --reward correct_boxed"),
        ("r1", reads_a_box, "'reads_a_box' reads \\boxed{}, and --prompt_style r1 asks for <answer>"),
        ("hash", registry.get("r1_bundle"), None),  # a part of it pays, so it is for the check to judge
        ("r1", punishes_length, None),
        ("hash", pays_for_length, None),
        ("none", correct, None),
        ("think", reads_a_box, None),
    ],
)
def test_a_layout_that_is_asked_for_and_not_paid(style: str, reward: Callable[..., Any], found: str | None) -> None:
    error = mismatch(reward, rows(prompt_style=style))
    assert (found in str(error)) if found else error is None


@pytest.mark.parametrize("style", [name for name in STYLES if name != "none"])
def test_what_it_proposes_would_start(style: str) -> None:
    for name in registry.REWARDS:
        if registry.REWARDS[name] not in ("correctness", "formatting"):
            continue
        remedy = getattr(mismatch(registry.get(name), rows(prompt_style=style)), "next_step", "")
        if "--reward " in remedy:
            other = remedy.partition("--reward ")[2].partition(",")[0]
            assert mismatch(registry.get(other), rows(prompt_style=style)) is None
        if "--prompt_style " in remedy:
            assert mismatch(registry.get(name), rows(prompt_style=remedy.split()[1].rstrip(","))) is None


def test_a_prompt_of_ones_own_and_examples_ask_too() -> None:
    asked = str(mismatch(correct, rows(system_prompt="End with ####.")))
    assert "and the prompt asks for #### 18; wanted one layout in both; let the prompt ask for <answer> or" in asked
    assert mismatch(correct, rows(system_prompt="Be brief.")) is None
    assert "asks for `The answer is 18`" in str(mismatch(correct, rows(prompt_style="none", examples="1")))


def test_what_may_ask_a_model_is_not_asked_for_every_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def slow(completions: Any, **kwargs: Any) -> list[float]:
        calls.append(len(completions))
        return [0.0] * len(completions)

    monkeypatch.setattr(asked, "SLOW_S", 0.0)
    assert mismatch(slow, rows(prompt_style="boxed")) is None
    assert len(calls) == 1
