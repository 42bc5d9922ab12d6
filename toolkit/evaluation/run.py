"""Measure a policy on held-out rows with the verdict that training uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from toolkit.backends.base import Backend, Generation, Policy, Sampling
from toolkit.data.schema import Row
from toolkit.evaluation import by_reward
from toolkit.evaluation.estimators import paired_difference, wilson_interval
from toolkit.machine import processes
from toolkit.runs import Run
from toolkit.runs.names import MEASUREMENTS

if TYPE_CHECKING:
    from toolkit.training import Reward

Judged = tuple[Generation, bool, by_reward.Scores]


@dataclass(frozen=True)
class Exam:
    """What is asked, and how it is judged: a completion counts when `reward` gives it 1."""

    rows: Sequence[Row]
    reward: Callable[..., list[float | None]]
    max_completion_length: int
    """Tokens."""
    rewards: Sequence[Reward] = ()
    """What the run pays for: the mean of each is taken, too."""

    @property
    def paid(self) -> list[Callable[..., list[float | None]]]:
        return [reward.function for reward in self.rewards]


@dataclass(frozen=True)
class Measurement:
    """Greedy pass@1 on held-out problems: the share whose single greedy completion is judged correct."""

    pass_at_1: float
    n: int
    interval: tuple[float, float]
    """95 %, Wilson."""
    truncated_frac: float
    """Share of completions that the length limit truncated."""
    mean_tokens: float
    verdicts: list[bool]
    """One a problem, in the order of the rows."""
    rewards: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the name of each reward of the run: `mean`, `interval` (95 %) and `n`; see `by_reward.means`."""
    format_frac: float | None = None
    """Share of completions in the prompted format; None without a reward for that: see `by_reward.format_frac`."""

    def summary(self) -> dict[str, Any]:
        """The figures without the single verdicts."""
        return {name: value for name, value in asdict(self).items() if name != "verdicts"}


def measure(when: str, run: Run, backend: Backend, policy: Policy, exam: Exam) -> Measurement:
    """Complete every row greedily and judge it.

    The figures go to the run's measurements.json under `when`, and the texts to completions/<when>.jsonl. A resumed run
    keeps the "before" that it has: its policy is no longer the one to measure. Several processes share the rows, and
    all return the figures of the whole; each completes as many as any other, since a model that is split over them
    answers only when all ask.
    """
    kept = processes.on_main(lambda: run.document(MEASUREMENTS).get(when)) if when == "before" else None
    if kept is not None:
        return Measurement(**{**kept, "interval": tuple(kept["interval"])})
    rows, n = exam.rows, processes.world_size()
    own = [rows[min(i, len(rows) - 1)] for i in range(processes.rank(), -(-len(rows) // n) * n, n)]
    parts = processes.gather(_judge(backend, policy, own, exam))
    judged = [parts[i % n][i // n] for i in range(len(rows))]
    generations, verdicts = [generation for generation, *_ in judged], [verdict for _, verdict, _ in judged]
    scores = [of_one for *_, of_one in judged]
    measurement = Measurement(
        pass_at_1=sum(verdicts) / len(rows),
        n=len(rows),
        interval=wilson_interval(sum(verdicts), len(rows)),
        truncated_frac=sum(g.is_truncated for g in generations) / len(rows),
        mean_tokens=sum(g.n_tokens for g in generations) / len(rows),
        verdicts=verdicts,
        rewards=by_reward.means(exam.paid, scores),
        format_frac=by_reward.format_frac(exam.paid, scores),
    )
    run.write_completions(
        when,
        (
            {
                "prompt": row["question"],
                "completion": generation.text,
                "answer": row["answer"],
                "n_tokens": generation.n_tokens,
                "correct": verdict,
                "rewards": of_one,
            }
            for row, generation, verdict, of_one in zip(rows, generations, verdicts, scores, strict=True)
        ),
    )
    run.update(MEASUREMENTS, **{when: asdict(measurement)})
    return measurement


def _judge(backend: Backend, policy: Policy, rows: Sequence[Row], exam: Exam) -> list[Judged]:
    """Each row's completion, whether it counts, and what each reward of the run gives it."""
    sampling = Sampling(exam.max_completion_length, batch_size=32 if backend.on_gpu else 64)
    generations = backend.generate(policy, [row["prompt"] for row in rows], sampling)
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    scores = exam.reward(completions=[g.text for g in generations], **columns)
    paid = by_reward.judge(exam.paid, rows, [g.text for g in generations], policy.tokenizer)
    return [(generation, score == 1.0, each) for generation, score, each in zip(generations, scores, paid, strict=True)]


def compare(before: Measurement, after: Measurement) -> dict[str, Any]:
    """The paired gain with its 95 % interval."""
    value, low, high = paired_difference(before.verdicts, after.verdicts)
    return {"value": value, "interval": [low, high]}
