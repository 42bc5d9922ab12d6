"""Groups of completions, each of one prompt, and what their rewards come to: GRPO learns from what differs in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, TypeVar

Kind = Literal["mixed", "all right", "all wrong", "partly right"]
KINDS: tuple[Kind, ...] = ("mixed", "all right", "all wrong", "partly right")
"""Mixed: its completions earn differently. Otherwise all earn alike: the most, the least, or something between."""
R = TypeVar("R", bound=Mapping[str, Any])
Rewards = Sequence[float | None]
"""What one completion earned, a value a reward function; None and NaN, it could not be judged, are values too."""


def key_of(row: Mapping[str, Any]) -> Any:
    """What the kept rows of a group have in common: step and `group`, else the prompt; None where a row has neither."""
    return ("group", row.get("step"), row["group"]) if "group" in row else row.get("prompt")


def groups_of(rows: Sequence[R]) -> list[list[R]]:
    """Neighbouring rows of one group; empty where a row belongs to none, or each is alone."""
    if any(key_of(row) is None for row in rows):
        return []
    groups = [list(members) for _key, members in groupby(rows, key_of)]
    return groups if any(len(group) > 1 for group in groups) else []


def is_mixed(group: Sequence[Rewards]) -> bool:
    """Whether its completions earn differently, compared exactly and function by function.

    TRL's `frac_reward_zero_std` takes the standard deviation of the weighted sum, and misses groups when a weight is
    not exact in binary (0.2).
    """
    return len({tuple(None if reward != reward else reward for reward in rewards) for rewards in group}) > 1


def zero_std_frac(rewards: Sequence[Rewards], num_generations: int) -> float:
    """Share of groups that are not mixed, so that none of them teaches anything, 0 to 1; 0 without completions.

    A group is the next `num_generations` of them, as TRL lays completions out.
    """
    starts = range(0, len(rewards), num_generations)
    signals = [is_mixed(rewards[start : start + num_generations]) for start in starts]
    return signals.count(False) / len(signals) if signals else 0.0


def kind_of(group: Sequence[Rewards], bounds: Sequence[tuple[float, float]]) -> Kind:
    """What a group's rewards come to, where `bounds` are the lowest and highest reward of each function."""
    if is_mixed(group):
        return "mixed"
    kinds: set[Kind] = {_end(reward, low, high) for reward, (low, high) in zip(group[0], bounds, strict=True)}
    return kinds.pop() if len(kinds) == 1 else "partly right"


def _end(reward: float | None, low: float, high: float) -> Kind:
    return "all right" if reward == high else "all wrong" if reward == low else "partly right"
