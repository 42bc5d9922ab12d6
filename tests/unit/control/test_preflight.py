"""What figures of a few completions mean: numbers in, findings out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from toolkit.control.preflight import Figures, findings, percentile, recommended_length
from toolkit.findings import Finding, Level

HEALTHY = Figures(
    n=32,
    n_groups=4,
    max_completion_length=256,
    tokens_p50=90,
    tokens_p95=200,
    truncated_frac=1 / 32,
    rewarded_frac=0.5,
    signal_frac=0.75,
    prompt_tokens=60,
    ending_tokens=["<|im_end|>"],
)


def found(name: str, changes: dict[str, Any], **how: Any) -> Finding:
    (finding,) = [f for f in findings(replace(HEALTHY, **changes), **how) if f.name == name]
    return finding


def test_nothing_is_wrong_with_a_healthy_sample() -> None:
    assert {f.name: (f.level, f.found) for f in findings(HEALTHY)} == {
        "length": ("green", "p50 90, p95 200 of 256 tokens; 3.1% truncated; --max_completion_length 208 would do"),
        "prompt": ("green", "the first one has 60 tokens"),
        "ending": ("green", "<|im_end|> ends 31 of 32 completions"),
        "reward": ("green", "50% with any reward, 3 of 4 groups with signal"),
    }


@pytest.mark.parametrize(
    ("frac", "most", "level", "length"),
    [
        (0.20, None, "green", ""),
        (0.21, None, "amber", "--max_completion_length 512"),
        (0.50, None, "amber", "--max_completion_length 1024"),
        (0.80, 700, "amber", "--max_completion_length 700"),
        (0.81, None, "red", "--max_completion_length 1024, or go on all the same with --allow_truncation"),
        (0.81, 256, "red", "a model that answers more briefly"),
    ],
)
def test_truncation_names_the_length_to_try_and_only_above_80_percent_is_refused(
    frac: float, most: int | None, level: Level, length: str
) -> None:
    cut = {"truncated_frac": frac, "tokens_p95": 256}
    finding = found("length", cut, most=most)
    assert finding.level == level
    assert finding.next_step.startswith(length)
    assert found("length", cut, most=most, allow_truncation=True).level == ("amber" if frac > 0.2 else "green")


def test_the_recommended_length_is_the_95th_percentile_only_where_that_is_the_policys_own() -> None:
    assert percentile([5, 1, 3, 2, 4], 0.5) == 3
    assert percentile(list(range(1, 33)), 0.95) == 31
    assert recommended_length(HEALTHY) == 208
    assert recommended_length(replace(HEALTHY, truncated_frac=0.06)) == 512  # p95 is the limit's, then
    assert recommended_length(replace(HEALTHY, truncated_frac=0.5), most=300) == 300


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"n_bos": 1, "adds_bos": True}, "green", "60 tokens, 1 of them BOS"),
        ({"n_bos": 2, "adds_bos": True}, "amber", "take BOS out of the chat template"),
        ({"n_bos": 0, "adds_bos": True}, "amber", "put BOS at the beginning of the chat template"),
        ({"n_bos": 0}, "green", "0 of them BOS"),
    ],
)
def test_bos_is_counted(changes: dict[str, Any], level: Level, said: str) -> None:
    finding = found("prompt", changes)
    assert finding.level == level
    assert said in str(finding)


def test_a_token_that_looks_like_an_end_and_is_none_is_named() -> None:
    finding = found("ending", {"truncated_frac": 1.0, "passed_tokens": {"<|pad|>": 2, "<|im_end|>": 30}})
    assert finding.level == "amber"
    assert "ends 0 of 32 completions; 30 of the others go on past <|im_end|>" in finding.found
    assert "eos_token_id" in finding.next_step


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"flat_groups": {"all right": 4}}, "harder problems"),
        ({"flat_groups": {"all wrong": 3, "all right": 1}}, "the reward may read another format"),
        ({"flat_groups": {"all wrong": 4}, "truncated_frac": 0.5}, "first let completions end"),
        ({"flat_groups": {"partly right": 4}}, "the same part of the reward"),
    ],
)
def test_without_signal_the_cause_follows_from_what_the_groups_have_in_common(
    changes: dict[str, Any], remedy: str
) -> None:
    finding = found("reward", {"signal_frac": 0.0, "rewarded_frac": 0.0, "silent_rewards": ["correct"]} | changes)
    assert finding.level == "amber"
    assert "0 of 4 groups with signal; never paid: correct" in finding.found
    assert remedy in finding.next_step


def test_a_reward_that_is_never_paid_is_worth_knowing_where_another_teaches() -> None:
    finding = found("reward", {"silent_rewards": ["correct"], "format_frac": 0.25})
    assert finding.level == "info"
    assert finding.found.startswith("25% in the prompted format, 50% with any reward, 3 of 4 groups")
