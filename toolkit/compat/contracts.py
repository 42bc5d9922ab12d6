"""Private names of other packages: looked up in one way, and loud when they are gone."""

from __future__ import annotations

from typing import Any

from toolkit.errors import ContractError


def require(owner: Any, name: str, release: str) -> Any:
    """Return `owner.name`; where it is gone, a ContractError names the `release` that had it, such as `trl 1.15`."""
    if not hasattr(owner, name):  # it may be None, as TRL's head is without triton
        where = getattr(owner, "__name__", type(owner).__name__)
        raise ContractError(f"{where} has no {name}", release, "run: toolkit doctor")
    return getattr(owner, name)
