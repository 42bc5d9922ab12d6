"""What a run pays for: rewards with weights and names of their own, checked before anything loads, and recorded."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.data.schema import Row
from toolkit.display.console import say
from toolkit.errors import RewardError
from toolkit.rewards import spec
from toolkit.rewards.base import UNJUDGED, RewardFunction, RewardWarning
from toolkit.rewards.bench.asked import mismatch
from toolkit.rewards.bench.calling import Outcome, name_of
from toolkit.rewards.bench.check import Checked, check_before_training, refusal
from toolkit.rewards.target import Target, find

Scores = list[float | None]


@dataclass(frozen=True)
class Reward:
    """A reward function and its weight in the sum."""

    function: Callable[..., Any]
    """In TRL's convention: (completions, **columns) -> one float or None a completion; it may be async."""
    weight: float = 1.0
    target: str = ""
    """How `--reward` names it, without secrets; empty for a recipe's own."""
    source: Path | None = None
    """The file that it is written in, where `--reward` names one."""

    @property
    def name(self) -> str:
        """What TRL logs it under, `rewards/<name>/mean`."""
        return _name(self.function)

    @property
    def columns(self) -> frozenset[str]:
        """Dataset columns that it cannot do without."""
        return frozenset(Target(self.name, self.function).columns)

    def record(self) -> dict[str, Any]:
        """As settings.json keeps it; the digest says later whether the file is still the same."""
        digest = hashlib.sha256(self.source.read_bytes()).hexdigest() if self.source and self.source.is_file() else None
        file = {"file": str(self.source), "sha256": digest} if self.source else {}
        return {"name": self.name, "weight": self.weight, "target": self.target or None, **file}


def asked_for(rewards: str) -> list[Reward]:
    """The rewards of `--reward TARGET[:WEIGHT],...`, each under a name of its own.

    Raises:
        RewardError: see `spec.weighted` and `target.find`; an address whose user or query a run did not keep.
    """
    found: list[Reward] = []
    for asked, weight in spec.weighted(rewards):
        if spec.is_address(asked) and spec.HIDDEN in asked:
            missing = f"--reward {asked}: user, password and query of an address are kept nowhere"
            raise RewardError(missing, "the whole address", "give --reward again beside --resume, as it was")
        target = find(asked)
        named = with_name(target.function, target.short_name)
        found.append(Reward(named, weight, target.name, target.source))
    return distinct(found)


def is_own_code(rewards: str) -> bool:
    """Whether one of `--reward` may import anything: a file, a module, or a model that is loaded here."""
    return any(":" in target and not spec.is_address(target) for target, _ in spec.weighted(rewards))


def distinct(rewards: Sequence[Reward]) -> list[Reward]:
    """The rewards with a number behind each name that occurred before, since TRL logs by name: `score`, `score_2`."""
    taken: set[str] = set()
    renamed: list[Reward] = []
    for reward in rewards:
        names = (reward.name, *(f"{reward.name}_{i}" for i in range(2, len(rewards) + 2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        is_its_own = getattr(reward.function, "__name__", None) == name
        function = reward.function if is_its_own else with_name(reward.function, name)
        renamed.append(replace(reward, function=function))
    return renamed


def _name(function: Callable[..., Any]) -> str:
    return name_of(function).strip("<>")  # `<lambda>` would be half a tag where it is shown


def with_name(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function under another name; its signature and whether it is async stay what they are."""
    if getattr(function, "__name__", None) == name:
        return function
    if isinstance(function, RewardFunction):
        return replace(function, title=name)
    return _wrapped(function, name, lambda scores, _columns: scores)


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with what a reward of this library promises: no NaN, no infinity, and the share of None is logged.

    A score that is not finite becomes None, with one warning. What returns no list of scores is a RewardError that
    names it.
    """
    if isinstance(function, RewardFunction):
        return function
    name, warned = _name(function), []

    def cleaned(result: Any, columns: Mapping[str, Any]) -> Any:
        if isinstance(result, Iterable) and not isinstance(result, (str, bytes, Mapping)):
            result = list(result)  # TRL takes a generator, an array or a tensor, too
        outcome = Outcome(result, n=len(columns["completions"]))
        problem = outcome.problem
        if problem and problem[0] != "finite":
            raise RewardError(f"reward {name!r} {problem[1]}", "one float or None a completion")
        scores = [None if score is None or not _is_finite(score) else float(score) for score in result]
        if problem and not warned:
            warned.append(problem)
            text = f"reward {name!r}: {problem[1]}; taken for None, this time and each time after"
            warnings.warn(text, RewardWarning, stacklevel=3)
        if None in scores and (log_metric := columns.get("log_metric")):
            log_metric(UNJUDGED.format(name), scores.count(None) / len(scores))
        return scores

    return _wrapped(function, name, cleaned)


def scores_of(function: Callable[..., Any], given: Mapping[str, Any]) -> Scores:
    """Call a reward outside of TRL, async ones too."""
    result = guarded(function)(**given)
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(result: Any) -> Any:
    return await result


def _is_finite(score: Any) -> bool:
    value = float(score)
    return value - value == 0


def _wrapped(
    function: Callable[..., Any], name: str, after: Callable[[Any, Mapping[str, Any]], Any]
) -> Callable[..., Any]:
    """`after(function(**columns), columns)` as a function of this name, async where the function is."""

    def call(**columns: Any) -> Any:
        return after(function(**columns), columns)

    async def call_async(**columns: Any) -> Any:
        return after(await function(**columns), columns)

    chosen = call_async if _is_async(function) else call
    wrapper = functools.update_wrapper(chosen, function)  # __wrapped__: its signature is that of the function
    wrapper.__name__ = name
    return wrapper


def _is_async(function: Callable[..., Any]) -> bool:
    """As TRL decides it."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def check_rewards(rewards: Sequence[Reward], rows: Sequence[Row], *, force: bool) -> list[Checked]:
    """Check each reward on the first rows; with `force` what is wrong is only said.

    Raises:
        RewardError: one fails its check (`toolkit reward check`), or has no server that answers.
    """
    checked: list[Checked] = []
    for reward in rewards if rows else ():
        error = _unavailable(reward, rows[0]) or mismatch(reward.function, rows)
        if error is None:
            checked.append(check_before_training(reward.function, rows))
            error = refusal(checked[-1])
        if error is not None and not force:
            raise error
        if error is not None:
            say(f"{error} Started all the same: --force")
    return checked


def _unavailable(reward: Reward, row: Row) -> RewardError | None:
    why = reward.function.unavailable(row) if isinstance(reward.function, RewardFunction) else ""
    if not why:
        return None
    found = f"reward {reward.name!r}{f' ({reward.target})' if reward.target else ''} gives no scores: {why}"
    return RewardError(found, "an answer for each row", "start or fix its server, or start anyway with --force")


def changes(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to say at a resume: each file of rewards that is no longer what it was when the run began."""
    earlier = {reward.get("name"): reward.get("sha256") for reward in before}
    changed: dict[str, list[str]] = {}
    for reward in now:
        if (old := earlier.get(reward["name"])) and old != reward.get("sha256"):
            changed.setdefault(reward["file"], []).append(reward["name"])
    return [
        f"{file} has changed since the steps before: from here on {', '.join(names)} may pay by other rules"
        for file, names in changed.items()
    ]


def in_words(rewards: Sequence[Reward]) -> str:
    """`1 x correct + 0.2 x brevity (my.py:brevity)`."""
    return " + ".join(
        f"{reward.weight:g} x {reward.name}" + (f" ({reward.target})" if reward.target not in ("", reward.name) else "")
        for reward in rewards
    )
