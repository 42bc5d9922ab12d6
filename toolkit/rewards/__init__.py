"""Reward functions in TRL's calling convention: `f(completions, **columns) -> list[float | None]`.

Each keeps its name, because TRL logs it as `rewards/<name>/mean`. None means "cannot judge", never 0. `registry` knows
all of them by name; their classes, with settings, are in the modules.
"""

from __future__ import annotations

from toolkit.rewards.answers import is_number
from toolkit.rewards.composition import Composition, Part, correct_if_format, hybrid, r1_bundle, r1_curriculum
from toolkit.rewards.correctness import correct, correct_latex, correct_signed, partial_credit
from toolkit.rewards.formatting import format, format_soft, tag_count
from toolkit.rewards.schedule import Linear, Piecewise, phases

__all__ = [
    "Composition",
    "Linear",
    "Part",
    "Piecewise",
    "correct",
    "correct_if_format",
    "correct_latex",
    "correct_signed",
    "format",
    "format_soft",
    "hybrid",
    "is_number",
    "partial_credit",
    "phases",
    "r1_bundle",
    "r1_curriculum",
    "tag_count",
]
