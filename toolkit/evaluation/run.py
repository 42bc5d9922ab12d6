"""Measure a policy on held-out rows with the verdict that training uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.backends.base import Backend, Policy, Sampling
from toolkit.data.schema import Row
from toolkit.evaluation.estimators import paired_difference, wilson_interval
from toolkit.runs import Run

FILE = "measurements.json"


@dataclass(frozen=True)
class Measurement:
    """Greedy pass@1 on held-out problems: the share whose single greedy completion is judged correct."""

    pass_at_1: float
    n: int
    interval: tuple[float, float]
    """95 %, Wilson."""
    cut_frac: float
    """Share of completions that the length limit cut off."""
    mean_tokens: float
    verdicts: list[bool]
    """One a problem, in the order of the rows."""

    def summary(self) -> dict[str, Any]:
        """The figures without the single verdicts."""
        return {name: value for name, value in asdict(self).items() if name != "verdicts"}


def measure(
    backend: Backend,
    policy: Policy,
    rows: Sequence[Row],
    reward: Callable[..., list[float | None]],
    max_completion_length: int,
) -> Measurement:
    """Complete every row greedily and judge with `reward`; a completion counts when it scores 1."""
    sampling = Sampling(max_completion_length, batch_size=64 if not backend.on_gpu else 32)
    generations = backend.generate(policy, [row["prompt"] for row in rows], sampling)
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    scores = reward(completions=[g.text for g in generations], **columns)
    verdicts = [score == 1.0 for score in scores]
    n = len(verdicts)
    return Measurement(
        pass_at_1=sum(verdicts) / n,
        n=n,
        interval=wilson_interval(sum(verdicts), n),
        cut_frac=sum(g.is_cut for g in generations) / n,
        mean_tokens=sum(g.n_tokens for g in generations) / n,
        verdicts=verdicts,
    )


def measure_once(run: Run, when: str, take: Callable[[], Measurement]) -> Measurement:
    """Measure unless this run has done so: a resumed run keeps its "before"."""
    kept = run.read(FILE).get(when)
    if kept is not None:
        return Measurement(**{**kept, "interval": tuple(kept["interval"])})
    measurement = take()
    run.update(FILE, **{when: asdict(measurement)})
    return measurement


def compare(before: Measurement, after: Measurement) -> dict[str, Any]:
    """The paired gain with its 95 % interval."""
    value, low, high = paired_difference(before.verdicts, after.verdicts)
    return {"value": value, "interval": [low, high]}
