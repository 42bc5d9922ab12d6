"""TRL's two shapes of a completion."""

from __future__ import annotations

Completion = str | list[dict[str, str]]
"""Plain text, or the messages of one turn: `[{"role": "assistant", "content": "..."}]`."""


def text_of(completion: Completion) -> str:
    """The text that the model wrote, from either shape."""
    return completion if isinstance(completion, str) else completion[-1]["content"]
