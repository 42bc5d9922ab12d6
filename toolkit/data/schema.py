"""What one training row is, whatever file or hub it came from.

A row is a `dict` with
- `prompt`: messages in the chat format, `[{"role": "system", ...}, {"role": "user", ...}]`,
- `answer`: the gold answer as a bare string, `"18"`,
- `question`: the text the user message was made of.

Loaders give question and answer; `data.prompts` adds the prompt. TRL passes every column but `prompt` to the reward
functions by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Problems:
    """Training and held-out rows, and what was dropped on the way.

    `report` has one line per thing a user should know (rows read, rows dropped and why).
    """

    train: list[Row]
    held_out: list[Row]
    name: str
    report: tuple[str, ...] = ()
