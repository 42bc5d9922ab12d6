"""From a question to the messages that a model is asked with."""

from __future__ import annotations

from dataclasses import replace

from toolkit.data.schema import Problems, Row

Messages = list[dict[str, str]]

R1_SYSTEM_PROMPT = "Respond in the following format:\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>"
"""The format instruction of the R1-style notebooks; `rewards.format` judges exactly this shape."""


def messages(question: str, system_prompt: str = R1_SYSTEM_PROMPT) -> Messages:
    """A system message and the question as the user's."""
    return [{"role": "system", "content": system_prompt}, {"role": "user", "content": question}]


def with_prompts(problems: Problems, system_prompt: str = R1_SYSTEM_PROMPT) -> Problems:
    """The problems with a `prompt` made of each question."""

    def prompted(rows: list[Row]) -> list[Row]:
        return [{"prompt": messages(row["question"], system_prompt), **row} for row in rows]

    return replace(problems, train=prompted(problems.train), held_out=prompted(problems.held_out))
