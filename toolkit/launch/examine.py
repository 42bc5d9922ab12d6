"""The questions that an examination answers, one function each; each adds its part to `Examination.result`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit.control.preflight import AMBER_TRUNCATED_FRAC
from toolkit.display.console import console
from toolkit.findings import Finding
from toolkit.launch.examination import SAMPLED, TRAINED, Examination
from toolkit.runs.names import GREEDY

if TYPE_CHECKING:
    from toolkit.backends.base import Generation
    from toolkit.data.schema import Row
    from toolkit.evaluation.run import Measurement
    from toolkit.settings.measuring import Measuring

GAP = 0.05
"""How much better known problems may be solved than hidden ones before it is worth a warning."""


def examine(asked: Measuring) -> Examination:
    """All of it, in order: what `toolkit eval` does."""
    exam = Examination.prepare(asked)
    if not asked.json:
        exam.introduce()
    with exam.open():
        greedy(exam)
        repeated(exam)
        gap(exam)
        if asked.canary:
            canary(exam)
        exam.conclude()
    return exam


def show(exam: Examination) -> None:
    """The figures as tables, the warnings with what to do, and where the completions are."""
    from toolkit.evaluation.report import render

    for part in render(exam.result, exam.findings):
        console.print(part, crop=False)


def greedy(exam: Examination) -> None:
    """One greedy completion a problem: pass@1, each reward's mean, format rate, length; the same by other filters."""
    from toolkit.evaluation import breakdown, estimators

    generations = exam.sample(GREEDY, exam.rows)
    judged = exam.judge(GREEDY, exam.rows, generations)
    measured = exam.figures(exam.rows, judged)
    lengths = estimators.bootstrap_interval([float(one.n_tokens) for one in generations])
    exam.result |= _about(exam) | {"greedy": measured.summary() | {"mean_tokens_interval": lengths}}
    exam.result["filters"] = _filters(exam.rows, generations, measured)
    by = exam.asked.by
    if by is not None:
        labels = breakdown.labels(exam.rows, by, exam.opened.problems.name)
        exam.result["by"] = {"name": by, "groups": breakdown.groups(labels, measured.verdicts)}
    if measured.truncated_frac > AMBER_TRUNCATED_FRAC:
        found = f"{measured.truncated_frac:.0%} of the completions are truncated, and cannot be right"
        longest = exam.opened.settings.rollout.max_completion_length
        remedy = f"--max_completion_length {2 * longest}"
        exam.findings.append(Finding("length", "amber", found, f"at most {AMBER_TRUNCATED_FRAC:.0%}", remedy))


def repeated(exam: Examination) -> None:
    """`n_samples` completions a problem, sampled: pass@k and maj@k. Nothing where none are asked for."""
    from toolkit.evaluation.repeated import at_k
    from toolkit.rewards.passing import is_right

    n, settings = exam.asked.n_samples, exam.opened.settings
    if not n:
        return
    generations = exam.sample(SAMPLED, exam.rows, n, settings.rollout.temperature)
    judged = exam.judge(SAMPLED, exam.rows, generations, n)
    measured = exam.figures(exam.rows, judged)
    rights = [is_right(score, measured.pass_score) for _, score, _ in judged]
    rights_PG = [rights[i : i + n] for i in range(0, len(rights), n)]
    generations_PG = [generations[i : i + n] for i in range(0, len(generations), n)]
    told: dict[str, Any] = {"n_samples": n, "temperature": settings.rollout.temperature, "seed": settings.record.seed}
    told |= {"truncated_frac": measured.truncated_frac, "mean_tokens": measured.mean_tokens}
    told |= {"rewards": measured.rewards, "format_frac": measured.format_frac}
    if measured.pass_score is not None:
        told |= at_k(rights_PG, generations_PG, exam.asked.ks, exam.opened.judge.function)
    exam.result["sampled"] = told


def gap(exam: Examination) -> None:
    """How much better problems that were trained on are solved than hidden ones. Nothing on another split."""
    from toolkit.evaluation.estimators import two_shares_difference

    if not exam.trained:
        return
    known = exam.measure(TRAINED, exam.trained)
    hidden = exam.result["greedy"]
    if known.pass_at_1 is None or hidden["pass_at_1"] is None:
        return
    n_hidden, n_right = hidden["n"], round(hidden["pass_at_1"] * hidden["n"])
    value, low, high = two_shares_difference(sum(known.verdicts), known.n, n_right, n_hidden)
    exam.result["gap"] = {"trained": known.summary(), "value": value, "interval": [low, high]}
    said = f"trained problems {known.pass_at_1:.1%}, hidden ones {hidden['pass_at_1']:.1%}"
    interval = f"gap {100 * value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
    if low > 0 and value > GAP:
        remedy = "more or other problems, or fewer steps; report the hidden figure"
        exam.findings.append(Finding("memorised", "amber", f"{said}: {interval}", "a gap that includes 0", remedy))
    else:
        exam.findings.append(Finding("memorised", "green", f"{said}: {interval}"))


def canary(exam: Examination) -> None:
    """Perplexity on text that has nothing to do with the task, with the adapter and without."""
    from toolkit.evaluation import canary

    found = canary.compare(exam.opened.loaded, has_adapter=exam.opened.named.adapter is not None)
    exam.result["canary"] = found
    if (finding := canary.finding(found)) is not None:
        exam.findings.append(finding)


def _about(exam: Examination) -> dict[str, Any]:
    opened, settings = exam.opened, exam.opened.settings
    return {
        "policy": opened.named.name,
        "kind": opened.named.kind,
        "model": settings.model.model,
        "run": str(opened.named.run) if opened.named.run else None,
        "backend": opened.backend.name,
        "dataset": settings.data.dataset,
        "split": exam.asked.split,
        "measured_by": opened.judge.name,
        "max_completion_length": settings.rollout.max_completion_length,
        "seed": settings.record.seed,
        "folder": str(exam.folder),
    }


def _filters(rows: Sequence[Row], generations: Sequence[Generation], measured: Measurement) -> dict[str, Any]:
    """By each filter of lm-evaluation-harness: pass@1 of the same completions, and how often its verdict is ours."""
    from toolkit.evaluation import filters
    from toolkit.evaluation.estimators import wilson_interval

    found = {}
    for name, verdicts in filters.verdicts(rows, [one.text for one in generations]).items():
        n, n_same = len(verdicts), sum(a == b for a, b in zip(verdicts, measured.verdicts, strict=True))
        own = {"pass_at_1": sum(verdicts) / n, "interval": wilson_interval(sum(verdicts), n)}
        found[name] = own | {"same_frac": n_same / n if measured.pass_at_1 is not None else None}
    return found
