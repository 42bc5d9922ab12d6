"""What a check comes to, whoever checks: a machine, a reward, the rollouts, a run's health."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from toolkit.errors import sentence

Level = Literal["green", "info", "amber", "red"]
LEVELS: tuple[Level, ...] = ("green", "info", "amber", "red")
"""From the best to the worst. `info`: worth knowing, nothing to do."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: in the same parts as an error, so that the worst of many can be raised as one.

    `red`: what was checked does not work as asked. `amber`: it does, but otherwise than it may seem, or perhaps not.
    Every amber and red finding has a next step.
    """

    name: str
    level: Level
    found: str
    wanted: str = ""
    next_step: str = ""

    def __str__(self) -> str:
        return sentence(self.found, self.wanted, self.next_step)

    def as_json(self, words: dict[Level, str]) -> dict[str, Any]:
        """`{"name", "status", "found", "wanted", "remedy"}`, the level under the caller's own word for it."""
        parts = {"found": self.found, "wanted": self.wanted, "remedy": self.next_step}
        return {"name": self.name, "status": words[self.level], **parts}


def worst(levels: Iterable[Level]) -> Level:
    """The last of them in the order of `LEVELS`; green of none."""
    return LEVELS[max((LEVELS.index(level) for level in levels), default=0)]
