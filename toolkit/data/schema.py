"""What one training row is, whatever file or hub it came from, and what a model is asked with it.

A row is a `dict` with
- `prompt`: messages in the chat format, `[{"role": "system", ...}, {"role": "user", ...}]`,
- `answer`: the gold answer as a bare string, `"18"`,
- `question`: the text the user message was made of.

Loaders give question and answer, and `worked_solution`, empty where the source has none; `prompts.ask` adds the prompt
and takes that off, of which it makes examples. TRL passes every column but `prompt` to the reward functions by its
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Row = dict[str, Any]
Messages = list[dict[str, str]]

WORKED_SOLUTION = "worked_solution"
R1_SYSTEM_PROMPT = "Respond in the following format:\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>"
"""The format instruction of the R1-style notebooks; `rewards.format` judges exactly this shape."""


@dataclass(frozen=True)
class Problems:
    """Training and held-out rows, and what was dropped on the way.

    `report` has one line per thing a user should know (rows read, rows dropped and why).
    """

    train: list[Row]
    held_out: list[Row]
    name: str
    report: tuple[str, ...] = ()
    examples: tuple[dict[str, str], ...] = ()
    """The turns that every prompt shows before its question."""
    hidden: list[Row] = field(default_factory=list)
    """Rows that a run neither trains nor measures on."""
    has_reserve: bool = False
    """Whether `hidden` comes from where training never looks, so that any run has had it hidden."""

    @property
    def sides(self) -> dict[str, list[Row]]:
        """The rows by what they are for, with the word for it."""
        return {"training": self.train, "held-out": self.held_out, "hidden": self.hidden}

    def with_sides(self, sides: Mapping[str, list[Row]], *lines: str) -> Problems:
        """The same with these rows, and lines more in the report."""
        train, held_out, hidden = (sides[name] for name in self.sides)
        return replace(self, train=train, held_out=held_out, hidden=hidden, report=(*self.report, *lines))


def messages(question: str) -> Messages:
    """A system message and the question as the user's."""
    return [{"role": "system", "content": R1_SYSTEM_PROMPT}, {"role": "user", "content": question}]
