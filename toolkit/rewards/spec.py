"""`--reward TARGET[:WEIGHT],...` as text: how it is divided, and what of it may be shown and kept.

- A comma divides two rewards; in an address write `%2C` (one in the user or password, before the `@`, is left alone).
- The part after the last colon is the weight if it is a number, and the target otherwise: `correct:1`,
  `my.py:brevity:0.2`, `C:\\mine.py:score:2`.
- In an address a whole number right after the host is its port: `http://host:8000` has no weight,
  `http://host:8000:0.5` and `http://host/score:0.5` have 0.5.
- User, password and query of an address are for the server alone: what is shown and kept has `***` in their place.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from toolkit.errors import RewardError

ADDRESSES = ("http://", "https://")
NOTHING_TO_TELL = ("rubric", "judge", "reward_model")
"""Targets that are no more than a kind: what follows their colon is a file or a model, even if it is a number."""
HIDDEN = "***"
_PARTS = re.compile(r"(?:https?://[^/\s]*@)?[^,]+", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?|[-+]?(inf|infinity|nan)", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"https?://(?:[^/?#]*@)?(?:\[[^\]]*\]|[^/?#:]*):\d+", re.IGNORECASE)
_USER = re.compile(r"(https?://)[^\s]*@", re.IGNORECASE)
_QUERY = re.compile(r"(https?://[^\s?#]*)[?#][^\s,]*", re.IGNORECASE)


def parts_of(spec: str) -> list[str]:
    """The rewards of a list, each as it was written."""
    return [part for found in _PARTS.findall(spec) if (part := found.strip())]


def divided(part: str) -> tuple[str, float | None]:
    """Target and weight of one reward; None where it has no weight.

    Raises:
        RewardError: the weight is not finite.
    """
    target, colon, last = part.rpartition(":")
    if not colon or not target or not _NUMBER.fullmatch(last) or target in NOTHING_TO_TELL:
        return part, None
    if _HOST_AND_PORT.fullmatch(part):
        return part, None
    if not math.isfinite(float(last)):
        raise RewardError(f"--reward {shown(part)}: the weight is {last}", "a finite number")
    return target, float(last)


def weighted(spec: str) -> list[tuple[str, float]]:
    """Every target of `--reward` with its weight, 1 where none is given; each target once.

    Raises:
        RewardError: no target, one twice, or a weight that is not finite.
    """
    found = [(target, 1.0 if weight is None else weight) for target, weight in map(divided, parts_of(spec))]
    if not found:
        raise RewardError("--reward names no reward", "TARGET[:WEIGHT],..., for example correct:1,my.py:brevity:0.2")
    targets = [target for target, _ in found]
    for target in targets:
        if targets.count(target) > 1:
            raise RewardError(f"--reward has {shown(target)!r} twice", "each once, with the weight of both")
    return found


def shown(text: str) -> str:
    """Any text with the user, password and query of its addresses hidden."""
    hidden = _USER.sub(rf"\1{HIDDEN}@", text) if "@" in text else text
    return _QUERY.sub(rf"\1?{HIDDEN}", hidden)


def recorded(spec: str) -> str:
    """A list of rewards as a run keeps it: no secrets, and files by paths that hold from any working directory."""
    kept = []
    for part in parts_of(spec):
        target, weight = divided(part)
        place = place_of(target)
        if place and os.path.exists(os.path.expanduser(place)):
            whole = str(Path(place).expanduser().resolve())
            target = target if "," in whole else target.replace(place, whole, 1)
        kept.append(shown(target) + ("" if weight is None else f":{part.rpartition(':')[2]}"))
    return ",".join(kept)


def is_address(target: str) -> bool:
    return target.lower().startswith(ADDRESSES)


def place_of(target: str) -> str:
    """The file or folder that a target names, as it is written there: `a.py` of `a.py:score`; empty where it is none.

    What follows `reward_model:` may also be a Hub id.
    """
    kind, _, source = target.partition(":")
    if is_address(target):
        return ""
    if kind in NOTHING_TO_TELL:
        return source
    place = target.rpartition(":")[0]
    return place if place.endswith(".py") else ""
