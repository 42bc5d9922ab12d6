"""What one cell took, from the records that its run left: seconds, tokens and memory, phase by phase."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.runs import metrics
from toolkit.runs.names import SUMMARY
from toolkit.runs.reader import read_json, read_metrics

TRAIN_S = "train_s"
PHASES = {
    "rollout": metrics.ROLLOUT_S,
    "reward": metrics.REWARD_S,
    "update": metrics.UPDATE_S,
    "parity": metrics.PARITY_S,
}
LAST_STEPS = 5
"""Steps at the end whose mean is the reward that a cell reached."""


def measured(run: Path, warmup_steps: int) -> dict[str, Any]:
    """The figures of a run, its first `warmup_steps` steps left out of times; None is not known.

    - `n_steps` counted steps; `step_s` of each in seconds, `step_s_median`.
    - `phases`: median seconds a step of rollout, reward, update and parity check.
    - `once_s`: seconds of what a run does once, such as loading.
    - `tokens_per_s`: prompts and completions over whole steps.
    - `rollout_tokens_per_s`: completions over the time in which they are sampled.
    - `update_tokens_per_s`: prompts and completions over the rest of a step.
    - `peak_gib`: `allocated` and `reserved` by torch on a card, `process` by the driver there; resident without a card.
    - `n_tokens`: prompts and completions of all steps, which equal settings and seed repeat exactly.
    - `reward`: mean of the last steps; `pass_at_1` after training, where the run measured it; `train_s`.
    """
    rows = read_metrics(run)
    counted = rows[warmup_steps:]
    if not counted:
        return {"n_steps": 0}
    summary = read_json(run / SUMMARY) if (run / SUMMARY).exists() else {}
    steps_s, update_s = _column(counted, metrics.STEP_S), _column(counted, metrics.UPDATE_S)
    n_tokens = rows[-1][metrics.TOKENS] - (rows[warmup_steps - 1][metrics.TOKENS] if warmup_steps else 0)
    on_card, reserved = bool(_column(rows, metrics.ALLOCATED_GIB)), _largest(rows, metrics.RESERVED_GIB)
    once_s = summary.get("phases_s", {})
    return {
        "n_steps": len(counted),
        "step_s": [_rounded(value) for value in steps_s],
        "step_s_median": _median(steps_s),
        "phases": {
            name: value for name, key in PHASES.items() if (value := _median(_column(counted, key))) is not None
        },
        "once_s": once_s,
        "tokens_per_s": _rounded(n_tokens / sum(steps_s)),
        "rollout_tokens_per_s": _median(_column(counted, metrics.TOKENS_PER_S)),
        "update_tokens_per_s": _rounded(n_tokens / sum(update_s)) if sum(update_s) else None,
        "peak_gib": {
            "allocated": _largest(rows, metrics.ALLOCATED_GIB),
            "reserved": reserved if on_card else None,
            "process": (summary.get("memory") or {}).get("peak_process_gib") if on_card else reserved,
        },
        "n_tokens": int(rows[-1][metrics.TOKENS]),
        "reward": _rounded(statistics.fmean(_column(rows[-LAST_STEPS:], metrics.REWARD) or [math.nan])),
        "pass_at_1": (summary.get("after") or {}).get("pass_at_1"),
        "train_s": summary.get(TRAIN_S, once_s.get("training")),
    }


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [row[key] for row in rows if row.get(key) is not None]


def _median(values: Sequence[float]) -> float | None:
    return _rounded(statistics.median(values)) if values else None


def _largest(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    return _rounded(max(_column(rows, key), default=math.nan))


def _rounded(value: float) -> float | None:
    """Four significant digits, more than a clock repeats; None for what is no number."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
