"""TRL's two shapes of a completion, and text on one line."""

from __future__ import annotations

from typing import Any

Completion = str | list[dict[str, Any]]
"""Plain text, or the messages of one turn: `[{"role": "assistant", "content": "..."}]`."""

FINISH_REASON, TRUNCATED = "finish_reason", "length"
"""The column that says how a completion ended, and its word for the length limit, as in vLLM and OpenAI's API."""


def finish_reason(is_truncated: bool) -> str:
    return TRUNCATED if is_truncated else "stop"


def text_of(completion: Completion) -> str:
    """The text that the model wrote last, from either shape; "" where the last message is a tool's or has no text.

    Content in blocks (`[{"type": "text", "text": "18"}]`, as for models that see images) is joined.
    """
    if isinstance(completion, str):
        return completion
    last = completion[-1] if completion else {}
    content = last.get("content") if last.get("role") != "tool" else None
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content or () if isinstance(block, dict))


def prompt_text(prompt: Completion) -> str:
    """All that a prompt says, text or messages."""
    return prompt if isinstance(prompt, str) else "\n".join(text_of([message]) for message in prompt)


def one_line(text: str, limit: int = 200) -> str:
    """The text with its white space folded, shortened to `limit` characters."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def utf8(text: str) -> str:
    """The text with `?` for lone surrogates, which neither tokenizers nor HTTP take."""
    return text.encode("utf-8", "replace").decode("utf-8")
