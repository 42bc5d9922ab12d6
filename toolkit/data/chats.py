"""Messages in the spellings that datasets have, as the chat template takes them."""

from __future__ import annotations

import json
from typing import Any

from toolkit.data.faults import Unusable
from toolkit.data.rows import shown
from toolkit.data.schema import Messages

_ROLES = {
    "human": "user", "user": "user", "system": "system", "developer": "system", "tool": "tool",
    **dict.fromkeys(("gpt", "assistant", "model", "bot", "chatgpt"), "assistant"),
}  # fmt: skip


def is_chat(value: Any) -> bool:
    """Whether it is a list of messages: OpenAI's (`role`, `content`) or ShareGPT's (`from`, `value`)."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in value)
    )


def as_chat(value: Any) -> Any:
    """The same value, or the messages that it is as JSON text, as a cell of a CSV holds them."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[ ", "[\n"):
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return read if is_chat(read) else value
    return value


def messages_of(value: Any) -> Messages:
    """The messages, with `role` and `content`; Unusable where one has no text or an unknown role."""
    if not is_chat(value):
        wanted = '`[{"role": "user", "content": "..."}]`'
        raise Unusable("a prompt that is no list of messages", f"the prompt is {shown(repr(value))}", wanted)
    return [_message(turn) for turn in value]


def _message(turn: dict[str, Any]) -> dict[str, str]:
    said, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = _ROLES.get(str(said).lower())
    if role is None:
        raise Unusable("a message of an unknown role", f"a message of {shown(repr(said))}", "user, assistant or system")
    if isinstance(content, list):  # OpenAI's parts
        texts = [part.get("text") if isinstance(part, dict) else part for part in content]
        known = [text for text in texts if isinstance(text, str)]
        content = "\n".join(known) if len(known) == len(texts) else None
    if not isinstance(content, str):
        raise Unusable("a message without text", f"a {role}'s message holds {shown(repr(content))}", "text in each")
    return {"role": role, "content": content}


def split_chat(chat: Messages) -> tuple[Messages, str]:
    """What is asked, up to the last user's turn, and the answer after it; empty where there is none."""
    at = max((i for i, message in enumerate(chat) if message["role"] == "user"), default=-1)
    if at < 0:
        raise Unusable("a chat without a user's turn", wanted="a question in it")
    answers = [message["content"] for message in chat[at + 1 :] if message["role"] == "assistant"]
    return chat[: at + 1], answers[-1] if answers else ""
