"""What one cell took, from the records that its run left: seconds, tokens and memory, phase by phase."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.runs import metrics
from toolkit.runs.names import ENVIRONMENT, LOADING, SETTINGS, SUMMARY
from toolkit.runs.reader import read_json, read_metrics
from toolkit.units import rounded

TRAIN_S = "train_s"
LAST_STEPS = 5
"""Steps at the end whose mean is the reward that a cell reached."""
PEAKS = ("allocated", "reserved")


@dataclass(frozen=True)
class Taken:
    """The seconds of each counted step by phase; phases that a step did not have are 0, and add up to `step_s`."""

    step_s: Sequence[float]
    seconds: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Taken:
        """Rollout is without the sync of weights in it, and update without the passes that only score."""
        known = {name: [row.get(key) for row in rows] for name, key in _TIMED.items()}
        present = {
            name: [value or 0.0 for value in values]
            for name, values in known.items()
            if any(value is not None for value in values)
        }
        for outer, inner in (("rollout", "sync"), ("update", "reference")):
            if outer in present and inner in present:
                present[outer] = [a - b for a, b in zip(present[outer], present[inner], strict=True)]
        return cls(_column(rows, metrics.STEP_S), present)

    def total(self, phase: str) -> float:
        """Seconds of a phase in all steps; 0 where it was not timed."""
        return sum(self.seconds.get(phase, ()))


_TIMED = {
    "rollout": metrics.ROLLOUT_S,
    "sync": metrics.SYNC_S,
    "reward": metrics.REWARD_S,
    "reference": metrics.REFERENCE_S,
    "update": metrics.UPDATE_S,
    "parity": metrics.PARITY_S,
}


def measured(run: Path, warmup_steps: int, n_sequences: int | None = None) -> dict[str, Any]:
    """The figures of a run, its first `warmup_steps` steps left out of times; None is not known.

    `n_sequences`: completions that feed an optimizer step, where the run's own records do not say.

    - `n_steps` counted steps; `step_s` of each in seconds, `step_s_median`.
    - `phases`: median seconds a step of rollout, sync, reward, reference, update and parity check, and those of `load`.
    - `rates`: tokens, tokens/s and samples/s of the phases that work on tokens, over all counted steps.
    - `phase_peak_gib`: the largest peak by phase: `allocated` and `reserved` on a card, else `resident`.
    - `once_s`: seconds of what a run does once, such as loading.
    - `tokens_per_s`: prompts and completions over whole steps; `samples_per_s` completions.
    - `rollout_tokens_per_s`: completions over the time in which they are sampled.
    - `update_tokens_per_s`: prompts and completions over the rest of a step, passes that only score included.
    - `peak_gib`: `allocated` and `reserved` by torch on a card, `process` by the driver there; resident without a card.
    - `n_tokens`: prompts and completions of all steps, `n_forward_passes` of the model in them: the counted work,
      which equal settings and seed repeat exactly.
    - `decoded_steps`: tokens of the longest completion of each round, summed over the counted steps.
    - `reward`: mean of the last steps; `pass_at_1` after training, where the run measured it; `train_s`.
    """
    rows = read_metrics(run)
    counted = rows[warmup_steps:]
    if not counted:
        return {"n_steps": 0}
    summary, taken = _record(run, SUMMARY), Taken.of(counted)
    update_s, once_s = taken.total("update") + taken.total("reference"), summary.get("phases_s", {})
    n_tokens = rows[-1][metrics.TOKENS] - (rows[warmup_steps - 1][metrics.TOKENS] if warmup_steps else 0)
    n_samples = (_sequences(run) or n_sequences or 0) * len(counted)
    phases = {name: _median(values) for name, values in taken.seconds.items()}
    if LOADING in once_s:
        phases["load"] = once_s[LOADING]
    return {
        "n_steps": len(counted),
        "step_s": [rounded(value) for value in taken.step_s],
        "step_s_median": _median(taken.step_s),
        "phases": phases,
        "rates": _rates(counted, taken, n_tokens, n_samples),
        "phase_peak_gib": _phase_peaks(rows, _record(run, ENVIRONMENT)),
        "once_s": once_s,
        "tokens_per_s": rounded(n_tokens / sum(taken.step_s)),
        "samples_per_s": rounded(n_samples / sum(taken.step_s)) if n_samples else None,
        "rollout_tokens_per_s": _median(_column(counted, metrics.TOKENS_PER_S)),
        "update_tokens_per_s": rounded(n_tokens / update_s) if update_s else None,
        "peak_gib": _peaks(rows, summary),
        "n_tokens": int(rows[-1][metrics.TOKENS]),
        "n_forward_passes": sum(_column(rows, metrics.FORWARD_PASSES)) or None,
        "decoded_steps": sum(_column(counted, metrics.LONGEST)) or None,
        "reward": rounded(statistics.fmean(_column(rows[-LAST_STEPS:], metrics.REWARD) or [math.nan])),
        "pass_at_1": (summary.get("after") or {}).get("pass_at_1"),
        "train_s": summary.get(TRAIN_S, once_s.get("training")),
    }


def settings_of(run: Path) -> dict[str, Any]:
    """What a run was asked for and what took effect, without where it lies; empty where it did not come so far."""
    record = _record(run, SETTINGS)
    kept = {name: record[name] for name in ("requested", "effective") if record.get(name)}
    return {name: {key: v for key, v in values.items() if not _is_a_place(v)} for name, values in kept.items()}


def _rates(
    rows: Sequence[Mapping[str, Any]], taken: Taken, n_tokens: float, n_samples: float
) -> dict[str, dict[str, float | None]]:
    sampled = sum(row.get(metrics.TOKENS_PER_S, 0.0) * row.get(metrics.ROLLOUT_S, 0.0) for row in rows)
    tokens = {"rollout": sampled, "reward": sampled, "reference": n_tokens, "update": n_tokens}
    return {
        phase: {
            "tokens": round(n),
            "tokens_per_s": rounded(n / seconds),
            "samples_per_s": rounded(n_samples / seconds) if n_samples else None,
        }
        for phase, n in tokens.items()
        if (seconds := taken.total(phase)) > 0 and n
    }


def _phase_peaks(rows: Sequence[Mapping[str, Any]], environment: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    on_card = bool(_column(rows, metrics.ALLOCATED_GIB))
    kinds = PEAKS if on_card else ("resident",)
    found: dict[str, dict[str, float]] = {}
    if "load_peak_gib" in environment:
        found["load"] = {kind: round(value, 4) for kind, value in environment["load_peak_gib"].items()}
    for phase in (*_TIMED, "between"):
        peaks = {kind: _largest(rows, metrics.of_a_phase(phase, kind)) for kind in kinds}
        if known := {kind: value for kind, value in peaks.items() if value is not None}:
            found[phase] = known
    return found


def _peaks(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> dict[str, float | None]:
    on_card, reserved = bool(_column(rows, metrics.ALLOCATED_GIB)), _largest(rows, metrics.RESERVED_GIB)
    return {
        "allocated": _largest(rows, metrics.ALLOCATED_GIB),
        "reserved": reserved if on_card else None,
        "process": (summary.get("memory") or {}).get("peak_process_gib") if on_card else reserved,
    }


def _sequences(run: Path) -> int | None:
    """Completions that feed an optimizer step, by what took effect; Unsloth may have raised the batch."""
    effective = _record(run, SETTINGS).get("effective") or {}
    batch, passes = (effective.get(name) for name in ("per_device_train_batch_size", "gradient_accumulation_steps"))
    return batch * passes if batch and passes else None


def _record(run: Path, name: str) -> dict[str, Any]:
    return read_json(run / name) if (run / name).exists() else {}


def _is_a_place(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("/", "~"))


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [row[key] for row in rows if row.get(key) is not None]


def _median(values: Sequence[float]) -> float | None:
    return rounded(statistics.median(values)) if values else None


def _largest(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    return rounded(max(_column(rows, key), default=math.nan))
