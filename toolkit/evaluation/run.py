"""Measure a policy on held-out rows with the verdict that training uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from toolkit.backends.base import Backend, Generation, Policy, Sampling
from toolkit.data.schema import Row
from toolkit.evaluation import by_reward
from toolkit.evaluation.estimators import paired_difference, wilson_interval
from toolkit.evaluation.sample import Journal, Told, key_of, sample
from toolkit.machine import processes
from toolkit.rewards.completions import FINISH_REASON, finish_reason, text_of
from toolkit.rewards.passing import is_right, pass_mark
from toolkit.runs import Run, metrics
from toolkit.runs.completions import weighted_sum
from toolkit.runs.names import MEASUREMENTS
from toolkit.training.rewards import Reward, Scores

Judged = tuple[Generation, float | None, by_reward.Scores]


@dataclass(frozen=True)
class Exam:
    """What is asked, and how it is judged: when a completion counts as right is said in `rewards.passing`."""

    rows: Sequence[Row]
    reward: Callable[..., list[float | None]]
    max_completion_length: int
    """Tokens."""
    pass_score: float | None = None
    """Score from which on a completion counts as right; None: the reward's highest."""
    rewards: Sequence[Reward] = ()
    """What the run pays for: the mean of each is taken, too."""

    @property
    def paid(self) -> list[Callable[..., Any]]:
        return [reward.function for reward in self.rewards]


@dataclass(frozen=True)
class Measurement:
    """Greedy pass@1 on held-out problems: the share whose single greedy completion counts as right."""

    pass_at_1: float | None
    """None where nothing says which score is right; see `rewards.passing`."""
    n: int
    interval: tuple[float, float] | None
    """95 %, Wilson."""
    truncated_frac: float
    """Share of completions that the length limit truncated."""
    mean_tokens: float
    verdicts: list[bool]
    """One a problem, in the order of the rows."""
    scores: Scores = field(default_factory=list)
    """One a problem; None where it could not be judged."""
    pass_score: float | None = None
    """The score from which on a completion counted as right."""
    mean_score: float | None = None
    """Over the problems that could be judged."""
    rewards: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the name of each reward of the run: `mean`, `interval` (95 %) and `n`; see `by_reward.means`."""
    format_frac: float | None = None
    """Share of completions in the prompted format; None without a reward for that: see `by_reward.format_frac`."""

    def summary(self) -> dict[str, Any]:
        """The figures without those of single problems."""
        return {name: value for name, value in asdict(self).items() if name not in ("verdicts", "scores")}


def measure(when: str, run: Run, backend: Backend, policy: Policy, exam: Exam, told: Told | None = None) -> Measurement:
    """Complete every row greedily and judge it.

    The figures go to the run's measurements.json under `when`, and the texts to completions/ under that name. Each
    batch is kept as it comes (see `sample`), so that a run that was killed meanwhile samples only what is missing. A
    resumed run keeps the "before" that it has: its policy is no longer the one to measure. Several processes share the
    rows, and all return the figures of the whole; each completes as many as any other, since a model that is split over
    them answers only when all ask.
    """
    kept = processes.on_main(lambda: run.document(MEASUREMENTS).get(when)) if when == "before" else None
    if kept is not None:
        return Measurement(**{**kept, "interval": kept["interval"] and tuple(kept["interval"])})
    rows, n = exam.rows, processes.world_size()
    own = [rows[min(i, len(rows) - 1)] for i in range(processes.rank(), -(-len(rows) // n) * n, n)]
    sampling = Sampling(exam.max_completion_length, batch_size=backend.batch_size(policy))
    prompts = [row["prompt"] for row in own]
    step = run.rows[-1][metrics.STEP] if run.rows else 0  # the policy of a run is told by the steps that are done
    journal = Journal(run.completions / f"{when}.part", key_of([row["prompt"] for row in rows], sampling, step=step))
    completed = sample(backend, policy, prompts, sampling, journal, told)
    parts = processes.gather(judge(exam, own, completed, policy.tokenizer))
    judged = [parts[i % n][i // n] for i in range(len(rows))]
    measurement = figures(exam, judged)
    run.write_completions(when, texts(exam, rows, judged, measurement.pass_score))
    run.update(MEASUREMENTS, **{when: asdict(measurement)})
    if run.writes:
        journal.remove()
    return measurement


def figures(exam: Exam, judged: Sequence[Judged]) -> Measurement:
    """What one completion a problem comes to."""
    generations, scores = [generation for generation, *_ in judged], [score for _, score, _ in judged]
    by_name = [of_one for *_, of_one in judged]
    known = [score for score in scores if score is not None]
    return Measurement(
        **counted(scores, pass_mark(exam.reward, exam.pass_score, scores)),
        n=len(judged),
        truncated_frac=sum(g.is_truncated for g in generations) / len(judged),
        mean_tokens=sum(g.n_tokens for g in generations) / len(judged),
        scores=scores,
        mean_score=sum(known) / len(known) if known else None,
        rewards=by_reward.means(exam.paid, by_name),
        format_frac=by_reward.format_frac(exam.paid, by_name),
    )


def texts(exam: Exam, rows: Sequence[Row], judged: Sequence[Judged], mark: float | None) -> list[dict[str, Any]]:
    """The completions with what they earned, as a run keeps them."""
    weights = [reward.weight for reward in exam.rewards]
    return [
        {
            "prompt": row.get("question") or text_of(row["prompt"]),
            "completion": generation.text,
            "answer": row.get("answer"),
            "n_tokens": generation.n_tokens,
            FINISH_REASON: finish_reason(generation.is_truncated),
            "correct": is_right(score, mark) if mark is not None else None,
            "score": score,
            "rewards": of_one,
            "reward": weighted_sum((of_one[reward.name] for reward in exam.rewards), weights),
        }
        for row, (generation, score, of_one) in zip(rows, judged, strict=True)
    ]


def judge(exam: Exam, rows: Sequence[Row], generations: Sequence[Generation], tokenizer: Any) -> list[Judged]:
    """Each completion with its score, and what each reward of the run gives it; `rows` has its row for each."""
    columns = dict.fromkeys(name for row in rows for name in row)
    ends = [finish_reason(generation.is_truncated) for generation in generations]
    rows = [
        {FINISH_REASON: end, **{name: row.get(name) for name in columns}} for row, end in zip(rows, ends, strict=True)
    ]
    said = [generation.text for generation in generations]
    paid = by_reward.judge(exam.paid, rows, said, tokenizer)
    if any(function is exam.reward for function in exam.paid):  # a judge that is a model is asked once
        judged_by = paid
    else:
        judged_by = by_reward.judge([exam.reward], rows, said, tokenizer)
    name = by_reward.name_of(exam.reward)
    return [(g, own[name], each) for g, own, each in zip(generations, judged_by, paid, strict=True)]


def counted(scores: Scores, mark: float | None) -> dict[str, Any]:
    """The fields of a Measurement that are about right and wrong."""
    verdicts = [is_right(score, mark) for score in scores]
    known = mark is not None
    return {
        "pass_at_1": sum(verdicts) / len(scores) if known else None,
        "interval": wilson_interval(sum(verdicts), len(scores)) if known else None,
        "verdicts": verdicts,
        "pass_score": mark,
    }


def agree(before: Measurement, after: Measurement) -> tuple[Measurement, Measurement]:
    """Both with one mark: where a reward gave its first 1 after training, nothing was right before."""
    mark = before.pass_score if before.pass_score is not None else after.pass_score
    both = [
        replace(side, **counted(side.scores, mark)) if side.pass_at_1 is None and mark is not None else side
        for side in (before, after)
    ]
    return both[0], both[1]


def compare(before: Measurement, after: Measurement) -> dict[str, Any]:
    """The paired gain with its 95 % interval; None where no completion counts as right or wrong."""
    if before.pass_at_1 is None or after.pass_at_1 is None:
        return {"value": None, "interval": None}
    value, low, high = paired_difference(before.verdicts, after.verdicts)
    return {"value": value, "interval": [low, high]}
