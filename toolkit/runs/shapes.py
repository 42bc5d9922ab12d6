"""What kind of value each part of a run's JSON files has, so that who shows them need not ask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from toolkit.runs.names import AFTER, BEFORE, ENVIRONMENT, MEASUREMENTS, PROGRESS, SETTINGS, SUMMARY

OBJECT, LIST, OBJECTS, NUMBER = "an object", "a list", "a list of objects", "a number"
KINDS: dict[str, dict[str, str]] = {
    SETTINGS: {
        **dict.fromkeys(("requested", "effective", "grpo_config"), OBJECT),
        **dict.fromkeys(("given", "differences"), LIST),
        **dict.fromkeys(("rewards", "engine_defaults"), OBJECTS),
    },
    ENVIRONMENT: {"versions": OBJECT, "variables": OBJECT, "gpus": OBJECTS, "argv": LIST},
    SUMMARY: {
        **dict.fromkeys((BEFORE, AFTER, "difference", "phases_s", "plan", "memory", "health"), OBJECT),
        "wall_s": NUMBER,
    },
    MEASUREMENTS: {BEFORE: OBJECT, AFTER: OBJECT},
    PROGRESS: {"wall_s": NUMBER},
}


def cleaned(name: str, document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The file `name` without parts of another kind than it has, and a sentence on each; null counts as left out."""
    kinds = KINDS.get(name, {})
    kept = {key: value for key, value in document.items() if key not in kinds or is_kind(value, kinds[key])}
    odd = [key for key, value in document.items() if key not in kept and value is not None]
    return kept, [f"{name}: {key} is not {kinds[key]}, and left out" for key in odd]


def is_kind(value: Any, kind: str) -> bool:
    if kind == OBJECT:
        return isinstance(value, Mapping)
    if kind == NUMBER:
        return number(value) is not None
    return isinstance(value, list) and (kind == LIST or all(isinstance(item, Mapping) for item in value))


def number(value: Any) -> float | None:
    """A finite number as a float; None for anything else."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def interval(value: Any) -> tuple[float, float] | None:
    """Two finite numbers; None for anything else."""
    ends = [number(end) for end in value] if isinstance(value, (list, tuple)) else []
    low, high = ends if len(ends) == 2 else (None, None)
    return None if low is None or high is None else (low, high)


def measurement(side: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement with numbers, intervals and rewards (`mean`, `interval`) where it has them, else None."""
    rewards = side.get("rewards")
    parts = rewards if isinstance(rewards, Mapping) else {}
    return {
        **{name: number(side.get(name)) for name in ("pass_at_1", "n", "mean_score", "mean_tokens", "truncated_frac")},
        "interval": interval(side.get("interval")),
        "rewards": {
            str(name): {"mean": number(of_one.get("mean")), "interval": interval(of_one.get("interval"))}
            for name, of_one in parts.items()
            if isinstance(of_one, Mapping)
        },
    }
