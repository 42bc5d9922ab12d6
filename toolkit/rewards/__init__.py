"""Reward functions in TRL's calling convention: `f(completions, **columns) -> list[float | None]`.

Each keeps its name, because TRL logs it as `rewards/<name>/mean`. None means "cannot judge", never 0.
"""

from __future__ import annotations

from toolkit.rewards.correctness import correct
from toolkit.rewards.formatting import format, format_soft, tag_count

__all__ = ["correct", "format", "format_soft", "tag_count"]
