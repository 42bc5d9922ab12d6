"""What a person decides: groups of settings, batch arithmetic, and the way from a command line or a file to them."""

from __future__ import annotations

from toolkit.settings.groups import (
    ALL_LINEAR,
    DataSettings,
    Flat,
    GrpoSettings,
    Lengths,
    ModelSettings,
    OptimSettings,
    RecordSettings,
    RolloutSettings,
    check,
    flatten,
)

__all__ = [
    "ALL_LINEAR",
    "DataSettings",
    "Flat",
    "GrpoSettings",
    "Lengths",
    "ModelSettings",
    "OptimSettings",
    "RecordSettings",
    "RolloutSettings",
    "check",
    "flatten",
]
