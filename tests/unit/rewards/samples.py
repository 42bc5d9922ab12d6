"""Completions, a row and its columns that any reward can be called with."""

from __future__ import annotations

from typing import Any

from toolkit.rewards.registry import REWARDS

PURE = [name for name, module in REWARDS.items() if module not in ("code", "learned", "judge")]
ROW = {"prompts": "How many?", "answer": "18"}
TEXTS = [
    "<reasoning>\n3*6=18\n</reasoning>\n<answer>\n18\n</answer>", "#### 18", r"\boxed{18}", "The answer is 17.", "",
    "<answer>18 or 19</answer>", "您好，请问您需要什么？", "so so so so so so", "\x00\ud800",
]  # fmt: skip


def columns(n: int, **more: Any) -> dict[str, list[Any]]:
    return {name: [value] * n for name, value in {**ROW, **more}.items()}
