"""How a completion that gives an answer is laid out, as prompts ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.rewards.answers import parse_gold
from toolkit.rewards.completions import Completion, prompt_text

TEMPLATES: dict[str, str] = {
    "answer_tag": "<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{answer}\n</answer>",
    "hashes": "{reasoning}\n#### {answer}",
    "boxed": "{reasoning}\nThe answer is \\boxed{{{answer}}}.",
    "answer_is": "{reasoning}\nThe answer is {answer}.",
    "last_number": "{reasoning}\nThat makes {answer}.",
    "think_answer": "<think>\n{reasoning}\n</think>\n<answer>\n{answer}\n</answer>",
    "think": "<think>\n{reasoning}\n</think>\nThe answer is \\boxed{{{answer}}}.",
}
"""By the name of a layout: those of `rewards.answers`, and two with thoughts before the answer."""
MARKS: dict[str, str] = {
    "answer_tag": "<answer>",
    "hashes": "#### 18",
    "boxed": "\\boxed{}",
    "answer_is": "`The answer is 18`",
    "last_number": "the last number",
    "think_answer": "<think> and <answer>",
    "think": "<think> and \\boxed{}",
}
"""How a message names a layout."""
# What a prompt that asks for a layout contains: all of the words, the most explicit first
_ASKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("think_answer", ("<think>", "<answer>")),
    ("answer_tag", ("<answer>",)),
    ("think", ("<think>",)),
    ("boxed", ("\\boxed",)),
    ("hashes", ("####",)),
    ("answer_is", ("answer is",)),
)


def render(layout: str, reasoning: str, answer: str) -> str:
    return TEMPLATES[layout].format(reasoning=reasoning, answer=answer)


def asked_by(prompt: Completion) -> str | None:
    """The layout that a prompt, text or messages, asks for; None when it names none of them."""
    text = prompt_text(prompt)
    return next((layout for layout, words in _ASKED if all(word in text for word in words)), None)


def wrong_answers(gold: str, others: Sequence[str]) -> dict[str, str]:
    """Answers that are wrong, by what is wrong with them; the first is an honest mistake.

    For a number: one more, and three that a careless comparison takes for it; for anything else, another row's answer.
    """
    value = parse_gold(gold)
    if value is None or not gold.strip():
        return {"another answer": next((other for other in others if other.strip() != gold.strip()), "17")}
    more = value + 1
    near = {"one more": str(more) if more.denominator == 1 else f"{float(more):g}"}
    if value.denominator == 1 and value > 0:
        near |= {"a digit before": f"1{value}", "a digit after": f"{value}1", "the sign": f"-{value}"}
    return near
