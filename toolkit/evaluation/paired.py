"""Two policies on the same problems: what the second gains and loses, with the completions of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import RunFolderError, SettingsError
from toolkit.evaluation import kept
from toolkit.evaluation.estimators import bootstrap_interval, mcnemar, paired_difference
from toolkit.rewards.completions import prompt_text, text_of
from toolkit.runs.completions import by_problem
from toolkit.runs.names import AFTER, BEFORE
from toolkit.units import plural

Row = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """The judged completions of one policy, one a problem."""

    name: str
    rows: list[Row]


def sides(paths: Sequence[Path]) -> tuple[Side, Side]:
    """The two that are to be compared: two folders, or one run's `before` and `after`; see `kept.read`."""
    if not paths:
        raise SettingsError("nothing to compare", "two of toolkit eval's folders or runs, or one run")
    if len(paths) > 2:
        raise SettingsError(f"{len(paths)} folders to compare", "two")
    if len(paths) == 1:
        return _side(paths[0], BEFORE), _side(paths[0], AFTER)
    return _side(paths[0]), _side(paths[1])


def _side(path: Path, name: str = "") -> Side:
    rows = [row | {"prompt": prompt_text(row["prompt"]), "completion": text_of(row["completion"])}
            for row in kept.read(path, name).rows]  # fmt: skip
    return Side(f"{path} {name}" if name else str(path), rows)


def compare(a: Side, b: Side, judged_by: str = "", scores: tuple[Sequence[float | None], ...] = ()) -> dict[str, Any]:
    """Paired figures of the problems that both have.

    `judged_by` and `scores` say who wins each (see `pairs`); without them the total that was kept with the completions.

    Raises:
        RunFolderError: they have no problem in common.
    """
    both = pairs(a, b)
    first, second = [one for one, _ in both], [other for _, other in both]
    found: dict[str, Any] = {"a": a.name, "b": b.name, "n": len(both)}
    found["left_out"] = {"a": len(a.rows) - len(both), "b": len(b.rows) - len(both)}
    known = [row.get("correct") is not None for pair in both for row in pair]
    found["pass_at_1"] = _passes(first, second) if all(known) else None
    found["rewards"] = {name: _means([_reward(r, name) for r in first], [_reward(r, name) for r in second])
                        for name in _names(first, second)}  # fmt: skip
    found["n_tokens"] = _means([row.get("n_tokens") for row in first], [row.get("n_tokens") for row in second])
    totals = scores or ([_total(row) for row in first], [_total(row) for row in second])
    found["win_rate"] = win_rate(*totals) | {"judged_by": judged_by or "reward"}
    changed = [(x, y) for x, y in both if found["pass_at_1"] and x["correct"] != y["correct"]]
    found["gained"] = [_told(x, y) for x, y in changed if y["correct"]]
    found["lost"] = [_told(x, y) for x, y in changed if x["correct"]]
    return found


def pairs(a: Side, b: Side) -> list[tuple[Row, Row]]:
    """The rows of both for each problem that both have, in the order of the first."""
    first, second = by_problem(a.rows), by_problem(b.rows)
    both = [(row, second[problem]) for problem, row in first.items() if problem in second]
    if not both:
        n = plural(len(a.rows), "problem"), plural(len(b.rows), "problem")
        raise RunFolderError(
            f"nothing to compare: {a.name} ({n[0]}) and {b.name} ({n[1]}) have no problem in common",
            "the same problems",
            "measure both alike: toolkit eval with the same --dataset and --split",
        )
    return both


def win_rate(a: Sequence[float | None], b: Sequence[float | None]) -> dict[str, Any]:
    """How often the second scores higher, a tie counting half: `value` with its 95 % bootstrap `interval`, `wins`,
    `ties`, `losses`, `unjudged`. None where no pair could be judged."""
    points = [_point(y - x) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    n = len(points)
    found = {"wins": points.count(1.0), "ties": points.count(0.5), "losses": points.count(0.0), "unjudged": len(a) - n}
    value = math.fsum(points) / n if n else None
    return {"value": value, "interval": bootstrap_interval(points), **found}


def _point(difference: float) -> float:
    return 0.5 if abs(difference) < 1e-9 else float(difference > 0)


def _passes(a: Sequence[Row], b: Sequence[Row]) -> dict[str, Any]:
    before, after = [row["correct"] for row in a], [row["correct"] for row in b]
    value, low, high = paired_difference(before, after)
    gained = sum(y > x for x, y in zip(before, after, strict=True))
    lost = sum(y < x for x, y in zip(before, after, strict=True))
    n = len(before)
    return {
        "a": sum(before) / n,
        "b": sum(after) / n,
        "difference": {"value": value, "interval": [low, high]},
        "gained": gained,
        "lost": lost,
        "mcnemar_p": mcnemar(gained, lost),
    }


def _means(a: Sequence[float | None], b: Sequence[float | None]) -> dict[str, Any]:
    """Both means over the pairs that have a value on both sides, and the mean difference with its interval."""
    known = [(float(x), float(y)) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not known:
        return {"a": None, "b": None, "difference": None, "interval": None}
    n, gains = len(known), [y - x for x, y in known]
    means = {"a": math.fsum(x for x, _ in known) / n, "b": math.fsum(y for _, y in known) / n}
    return means | {"difference": math.fsum(gains) / n, "interval": bootstrap_interval(gains)}


def _names(a: Sequence[Row], b: Sequence[Row]) -> list[str]:
    """Rewards that both sides were judged by."""
    own, other = ({name for row in rows for name in row.get("rewards") or ()} for rows in (a, b))
    return [name for name in dict.fromkeys(n for row in a for n in row.get("rewards") or ()) if name in own & other]


def _reward(row: Mapping[str, Any], name: str) -> float | None:
    return (row.get("rewards") or {}).get(name)


def _total(row: Mapping[str, Any]) -> float | None:
    """What a run paid; of older files, and of a model that was paid nothing, the score that measures."""
    return row.get("reward") if row.get("reward") is not None else row.get("score")


def _told(a: Row, b: Row) -> dict[str, Any]:
    return {"prompt": a.get("prompt"), "answer": a.get("answer"), "a": a["completion"], "b": b["completion"]}
