"""Runs side by side: the settings that differ, figures, and differences on the same held-out problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.evaluation.estimators import mean_interval, paired_difference
from toolkit.runs import metrics
from toolkit.runs.completions import by_problem, files_of, read_rows
from toolkit.runs.names import AFTER, ENVIRONMENT, MEASUREMENTS, SETTINGS
from toolkit.runs.record import Record

OF_THE_FOLDER = ("output_dir", "resume", "config", "debug", "force", "check_machine", "push_to_hub", "public", "save")
OF_THE_FOLDER += ("report",)
"""Settings that do not bear on what is learnt or how long it takes."""
LEFT = "not recorded"
Differing = dict[str, list[Any]]
"""A value for each run, by name."""


def differing_settings(records: Sequence[Record]) -> Differing:
    """The settings in which runs differ, `--grpo` ones and rewards among them; a value for each run."""
    flat = [
        {name: value for name, value in record.asked.items() if name not in (*OF_THE_FOLDER, "grpo")}
        | {f"grpo.{name}": value for name, value in _mapping(record.asked.get("grpo")).items()}
        | {"recipe": record.at(SETTINGS, "recipe"), "rewards": _rewards(record)}
        for record in records
    ]
    return _differing(flat)


def differing_environment(records: Sequence[Record]) -> Differing:
    """The same of releases, cards, platform and commit."""
    flat = []
    for record in records:
        environment = record.document(ENVIRONMENT)
        cards = [card.get("name") for card in environment.get("gpus") or []]
        known = {name: environment.get(name) for name in ("python", "platform", "git_commit", "world_size", "n_cpus")}
        flat.append({**known, "gpus": ", ".join(map(str, cards)) or None, **_mapping(environment.get("versions"))})
    return _differing(flat)


def _differing(flat: Sequence[Mapping[str, Any]]) -> Differing:
    names = dict.fromkeys(name for one in flat for name in one)
    columns = {name: [one.get(name, LEFT) for one in flat] for name in names}
    return {name: values for name, values in columns.items() if any(value != values[0] for value in values)}


def _rewards(record: Record) -> str | None:
    return ", ".join(f"{name}:{weight:g}" for name, weight in record.weights.items()) or None


def compare(records: Sequence[Record]) -> dict[str, Any]:
    """All of it, for `--json`: everything beside the first run."""
    return {
        "runs": [record.summary() for record in records],
        "settings": differing_settings(records),
        "environment": differing_environment(records),
        "figures": [record.figures() for record in records],
        "paired": [paired(records[0], record) for record in records[1:]],
        "curves": curves(records),
    }


def curves(records: Sequence[Record]) -> dict[str, list[list[tuple[int, float]]]]:
    """Each metric that one of the runs has: for every run its points, (step, value)."""
    keys = dict.fromkeys(key for record in records for row in record.rows for key in row if key != metrics.STEP)
    points = {key: [points_of(record, key) for record in records] for key in keys}
    return {key: of_runs for key, of_runs in points.items() if any(of_runs)}


def points_of(record: Record, key: str) -> list[tuple[int, float]]:
    """(step, value) of each row in which a metric has a finite value."""
    values = zip(record.rows, record.column(key), strict=True)
    return [(int(row[metrics.STEP]), value) for row, value in values if value is not None]


def paired(first: Record, other: Record) -> dict[str, Any]:
    """The gain of `other` over `first` after training, on the held-out problems that both have.

    `n` problems; `pass_at_1` and `score`, each `{"value", "interval"}` (95 %) or None; `why` says what is missing.
    """
    sides = [_measured(record) for record in (first, other)]
    if isinstance(missing := next((side for side in sides if isinstance(side, str)), None), str):
        return {"n": 0, "pass_at_1": None, "score": None, "why": missing}
    one, two = (side for side in sides if not isinstance(side, str))
    shared = [problem for problem in one if problem in two]
    if not shared:
        why = "the two were measured on different problems"
        return {"n": 0, "pass_at_1": None, "score": None, "why": why}
    pairs = [(one[problem], two[problem]) for problem in shared]
    return {
        "n": len(shared),
        "pass_at_1": _gain_in_passes([(a["correct"], b["correct"]) for a, b in pairs]),
        "score": _gain_in_scores([(a["score"], b["score"]) for a, b in pairs]),
        "why": "",
    }


def _gain_in_passes(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any] | None:
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not known:
        return None
    value, low, high = paired_difference([a for a, _ in known], [b for _, b in known])
    return {"value": value, "interval": [low, high]}


def _gain_in_scores(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any] | None:
    gains = [b - a for a, b in pairs if a is not None and b is not None]
    if not gains:
        return None
    found = mean_interval(gains, (float("-inf"), float("inf")))
    return {"value": sum(gains) / len(gains), "interval": list(found) if found else None}


def _measured(record: Record) -> dict[tuple[str, int], dict[str, Any]] | str:
    """`correct` and `score` of each problem after training; or what is missing."""
    kept = _mapping(record.document(MEASUREMENTS).get(AFTER))
    path = files_of(record.folder).get(AFTER)
    name = record.folder.name
    if not kept or path is None:
        return f"{name} was not measured after training"
    rows, warning = read_rows(path)
    verdicts, scores = (list(kept.get(name) or ()) for name in ("verdicts", "scores"))
    if warning or not len(rows) == len(verdicts) == len(scores):
        return warning or f"{path.name} and {MEASUREMENTS} of {name} do not go together"
    if kept.get("pass_at_1") is None:
        verdicts = [None] * len(rows)
    judged = zip(rows, verdicts, scores, strict=True)
    return by_problem(row | {"correct": verdict, "score": score} for row, verdict, score in judged)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
