"""The same figures by how hard a problem is: its number of steps, or what a column says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.data.schema import WORKED_SOLUTION, Row
from toolkit.errors import DataError, did_you_mean
from toolkit.evaluation.estimators import wilson_interval
from toolkit.rewards import equations

STEPS = "steps"
MAX_GROUPS = 20


def labels(rows: Sequence[Row], by: str, source: str) -> list[str]:
    """What each row is counted under.

    Raises:
        DataError: the rows have no such column, no worked solution to count steps in, or too many different values.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    if by in names:
        found = ["none" if row.get(by) is None else str(row[by]) for row in rows]
    elif by == STEPS:
        if not any(row.get(WORKED_SOLUTION) for row in rows):
            raise DataError(f"--by {STEPS}: {source} has no worked solutions", "answers that end in `#### 18`")
        found = [str(n_steps(row.get(WORKED_SOLUTION) or "")) for row in rows]
    else:
        known = [STEPS, *(name for name in names if name not in ("prompt", WORKED_SOLUTION))]
        hint = did_you_mean(by, known) or f"one of {', '.join(known)}"
        raise DataError(f"--by {by}: {source} has no such column", hint)
    if (n := len(set(found))) > MAX_GROUPS:
        raise DataError(f"--by {by}: {source} has {n} different values there", f"at most {MAX_GROUPS}")
    return found


def n_steps(solution: str) -> int:
    """Equations in a worked solution, or its lines where it has none."""
    return sum(1 for _ in equations.find(solution)) or len([line for line in solution.splitlines() if line.strip()])


def groups(of: Sequence[str], verdicts: Sequence[bool]) -> list[dict[str, Any]]:
    """By label, in the order of numbers where all are: `value`, `n`, `pass_at_1` and its 95 % `interval`."""
    found = []
    for label in sorted(set(of), key=_order):
        own = [right for one, right in zip(of, verdicts, strict=True) if one == label]
        share, interval = sum(own) / len(own), wilson_interval(sum(own), len(own))
        found.append({"value": label, "n": len(own), "pass_at_1": share, "interval": interval})
    return found


def _order(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label
