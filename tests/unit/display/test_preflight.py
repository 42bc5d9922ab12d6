"""What a person reads before the first step."""

from __future__ import annotations

from typing import Any

from toolkit.display.preflight import preflight_lines
from toolkit.findings import Finding


def row(completion: str, **changes: Any) -> dict[str, Any]:
    given = {"n_tokens": 31, "finish_reason": "stop", "rewards": {"correct": 1.0, "format": None}, "reward": 1.25}
    return {"prompt": "Jack has 6.\nHow many?", "answer": "8", "completion": completion} | given | changes


def test_findings_then_the_prompt_with_its_ids_then_completions_with_their_rewards() -> None:
    findings = [
        Finding("length", "green", "p50 22", "not said"),
        Finding("reward", "amber", "0 of 4 groups with signal", "some", "easier problems"),
    ]
    shown = [row("<answer>8</answer>"), row("6-", finish_reason="length", n_tokens=1, reward=None, answer=None)]
    assert preflight_lines(findings, "<|im_start|>user\nHow many?\n", list(range(40)), shown) == [
        "length:  p50 22",
        "reward:  warn: 0 of 4 groups with signal; wanted some; easier problems.",
        "first prompt, 40 tokens: 0 1 2 3 4 5 ... 34 35 36 37 38 39",
        "    <|im_start|>user",
        "    How many?",
        'a completion, reward 1.25 (correct 1.00, format -), 31 tokens, ended, to "Jack has 6. How many?" (answer 8):',
        "    <answer>8</answer>",
        'a completion, reward - (correct 1.00, format -), 1 token, truncated, to "Jack has 6. How many?":',
        "    6-",
    ]


def test_a_long_text_is_shown_by_its_beginning_and_its_end_and_cannot_steer_the_terminal() -> None:
    text = "\x1b[2Jfirst\n" + "\n".join(f"line {i}" for i in range(2, 30)) + "\nlast\x07 " + "y" * 1000
    lines = preflight_lines([], "", [1], [row(text, prompt="x" * 500 + " How many?")])[2:]
    assert lines[0].endswith("How many?\" (answer 8):")
    assert len(lines[0]) < 200
    assert lines[1] == "    first"
    assert lines[7] == "    ... 18 lines ..."
    assert lines[-1].startswith("    last y")
    assert len(lines) == 14
    assert max(map(len, lines[1:])) <= 404
    assert not any(char in "".join(lines) for char in "\x1b\x07")
