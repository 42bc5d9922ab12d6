"""How a completion that gives an answer is laid out, as prompts ask for it and as published rewards read it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import chain

from toolkit.errors import SettingsError, did_you_mean
from toolkit.rewards.answers import parse_gold
from toolkit.rewards.completions import Completion, one_line, prompt_text

TEMPLATES: dict[str, str] = {
    "answer_tag": "<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{answer}\n</answer>",
    "hashes": "{reasoning}\n#### {answer}",
    "boxed": "{reasoning}\nThe answer is \\boxed{{answer}}.",
    "answer_is": "{reasoning}\nThe answer is {answer}.",
    "last_number": "{reasoning}\nThat makes {answer}.",
    "think_answer": "<think>\n{reasoning}\n</think>\n<answer>\n{answer}\n</answer>",
    "think": "<think>\n{reasoning}\n</think>\nThe answer is \\boxed{{answer}}.",
    "answer_line": "<reasoning>{reasoning}</reasoning><answer>{answer}</answer>",
    "think_line": "<think>{reasoning}</think>\n<answer>{answer}</answer>",
    "answer_alone": "<answer>{answer}</answer>",
    "answer_boxed": "<think>\n{reasoning}\n</think>\n<answer>\n\\boxed{{answer}}\n</answer>",
    "solution_tag": "<start_working_out>{reasoning}<end_working_out>\n<SOLUTION>{answer}</SOLUTION>",
    "solution_lower": "<think>{reasoning}</think>\n<solution>{answer}</solution>",
    "final_answer_tag": "{reasoning}\n<final_answer>{answer}</final_answer>",
    "answer_brackets": "{reasoning}\n[ANSWER]{answer}[/ANSWER]",
    "final_answer": "{reasoning}\nFinal answer: {answer}",
    "answer_colon": "{reasoning}\nAnswer: {answer}",
    "json": '{"reasoning": {reasoning}, "answer": {answer}}',
    "plain": "{answer}",
}
"""By name, the most usual first: those of `rewards.answers`, and others that notebooks and threads use."""
MARKS: dict[str, str] = {
    "answer_tag": "<answer>",
    "hashes": "#### 18",
    "boxed": "\\boxed{}",
    "answer_is": "`The answer is 18`",
    "last_number": "the last number",
    "think_answer": "<think> and <answer>",
    "think": "<think> and \\boxed{}",
    "answer_line": "<answer> on one line",
    "think_line": "<think> and <answer> on one line",
    "answer_alone": "<answer> alone",
    "answer_boxed": "\\boxed{} in <answer>",
    "solution_tag": "<SOLUTION>",
    "solution_lower": "<solution>",
    "final_answer_tag": "<final_answer>",
    "answer_brackets": "[ANSWER]",
    "final_answer": "`Final answer: 18`",
    "answer_colon": "`Answer: 18`",
    "json": "JSON with an answer",
    "plain": "the answer alone",
}
"""How a message names a layout."""
# What a prompt that asks for a layout contains: all of the words, the most explicit first. A prompt may ask for several
_ASKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("think_answer", ("<think>", "<answer>")),
    ("answer_tag", ("<answer>",)),
    ("answer_boxed", ("<answer>", "\\boxed")),
    ("solution_tag", ("<SOLUTION>",)),
    ("solution_lower", ("<solution>",)),
    ("final_answer_tag", ("<final_answer>",)),
    ("answer_brackets", ("[ANSWER]",)),
    ("json", ('"answer":',)),
    ("think", ("<think>",)),
    ("boxed", ("\\boxed",)),
    ("hashes", ("####",)),
    ("answer_is", ("answer is",)),
)
# Where a prompt shows its tags on one line, the answer may stand on the same line as they do
_ON_ONE_LINE = {"think_answer": ("think_line", "answer_alone"), "answer_tag": ("answer_line", "answer_alone")}
_FIELD = re.compile(r"\{(reasoning|answer)\}")


def render(layout: str, reasoning: str, answer: str) -> str:
    """The completion that gives this answer; `layout`: a name of `TEMPLATES`, or a template with `{answer}` in it."""
    template = TEMPLATES.get(layout, layout)
    parts = {"reasoning": reasoning, "answer": answer}
    if layout == "json":
        parts = {name: json.dumps(part, ensure_ascii=False) for name, part in parts.items()}
    return _FIELD.sub(lambda found: parts[found[1]], template)


def checked_layout(given: str) -> str:
    """A layout as a user gives it: a name, or a template; a SettingsError for anything else."""
    template = given.replace("\\n", "\n")
    if given in TEMPLATES or "{answer}" in template:
        return given if given in TEMPLATES else template
    wanted = did_you_mean(given, TEMPLATES) or f"text with {{answer}} in it, or one of {', '.join(TEMPLATES)}"
    raise SettingsError(f"--layout {given!r} has no {{answer}}", wanted)


def layout_name(layout: str) -> str:
    """A layout as a sentence has it: its name, or the template of one that has none."""
    return layout if layout in TEMPLATES else one_line(repr(layout), 60)


def asked_by(prompt: Completion) -> tuple[str, ...]:
    """The layouts that a prompt, text or messages, asks for, the most literal first; none where it names none."""
    text = prompt_text(prompt)
    asked = [layout for layout, words in _ASKED if all(word in text for word in words)]
    if re.search(r"<answer>[ \t]*\n", text) is None:
        asked += chain.from_iterable(_ON_ONE_LINE.get(layout, ()) for layout in asked)
    return tuple(dict.fromkeys(asked))


def wrong_answers(gold: str, others: Sequence[str]) -> dict[str, str]:
    """Answers that are wrong, by what is wrong with them; the first is an honest mistake.

    For a number: one that no tolerance takes for it, one more, and three that a careless comparison takes for it; for
    anything else, another row's answer.
    """
    value = parse_gold(gold)
    if value is None or not gold.strip():
        return {"another answer": next((other for other in others if other.strip() != gold.strip()), "17")}
    far = value + max(2, abs(value) // 3)
    near = {"another number": _written(far), "one more": _written(value + 1)}
    if value.denominator == 1 and value > 0:
        near |= {"a digit before": f"1{value}", "a digit after": f"{value}1", "the sign": f"-{value}"}
    return near


def _written(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):g}"
