"""What was asked for against what is in effect, setting by setting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from toolkit.backends.base import linear_targets
from toolkit.settings import GrpoSettings
from toolkit.training.engine_defaults import plain
from toolkit.training.grpo import Assembly


@dataclass(frozen=True)
class Difference:
    """A setting that does not have the value that was asked for."""

    name: str
    requested: Any
    effective: Any

    def __str__(self) -> str:
        return f"{self.name}: asked {_shown(self.requested)}, in effect {_shown(self.effective)}"


def differences(assembly: Assembly) -> list[Difference]:
    """What does not have the value that was asked for: by the user, or by us of GRPOConfig.

    Of a mapping the keys that were asked for are compared, since TRL adds its own; another spelling of the same value
    (`none` and `[]`) and torch's fused kernel of the same optimizer are no difference.
    """
    settings: GrpoSettings = assembly.resolved.settings
    effective = assembly.effective
    by_user: dict[str, Any] = {**vars(settings.rollout), **vars(settings.optim), **vars(settings.model)}
    by_user |= settings.grpo | {"target_modules": sorted(linear_targets(settings.model))}
    del by_user["gradient_checkpointing"]  # how, for us; whether, for TRL
    asked = assembly.asked | {name: plain(value) for name, value in by_user.items() if value is not None}
    compared = (
        pair
        for name, value in asked.items()
        if value is not None and name in effective
        for pair in _pairs(name, value, effective[name])
    )
    return [pair for pair in compared if not _same(pair.requested, pair.effective)]


def _pairs(name: str, requested: Any, effective: Any) -> list[Difference]:
    """One pair, or one a key where both are mappings."""
    if isinstance(requested, dict) and isinstance(effective, dict):
        return [Difference(f"{name}.{key}", value, effective.get(key)) for key, value in requested.items()]
    return [Difference(name, requested, effective)]


def _same(requested: Any, effective: Any) -> bool:
    if isinstance(requested, str) and isinstance(effective, list):  # `report_to`, which is kept as a list
        return effective == ([] if requested in ("none", "all") else [requested])
    if isinstance(requested, str) and isinstance(effective, str):
        return requested.removesuffix("_fused") == effective.removesuffix("_fused")
    if isinstance(requested, list) and isinstance(effective, list):
        return len(requested) == len(effective) and all(map(_same, requested, effective))
    if isinstance(requested, float) and isinstance(effective, float):  # `reward_weights`, a tensor in effect
        return math.isclose(requested, effective, rel_tol=1e-6)
    return requested == effective


def _shown(value: Any) -> str:
    """A value as it would be typed."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value is None else str(value)
