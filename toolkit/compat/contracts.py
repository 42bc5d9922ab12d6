"""Private names of other packages: looked up in one way, and loud when they are gone."""

from __future__ import annotations

from typing import Any

from toolkit.errors import ContractError


def require(owner: Any, name: str, release: str) -> Any:
    """Return `owner.name`, which may be None: TRL's head is, where there is no triton.

    Raises:
        ContractError: it is gone; `release` names the version in which it was there, as in `trl 1.15`.
    """
    if not hasattr(owner, name):
        where = getattr(owner, "__name__", type(owner).__name__)
        raise ContractError(f"{where} has no {name}", release, "run: toolkit doctor")
    return getattr(owner, name)
