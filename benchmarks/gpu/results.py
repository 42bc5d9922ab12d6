"""The JSON of a check: what a cell found beside its plan, and what all cells come to; see benchmarks/README.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu import plans
from benchmarks.gpu.cells import ENGINES, Cell
from benchmarks.gpu.numerics import compare_engines
from toolkit.bench.share import ABSOLUTE_PATH
from toolkit.machine.devices import Gpu
from toolkit.vram.calibration import Entry, learn
from toolkit.vram.constants import FORMAT as CALIBRATION_FORMAT
from toolkit.vram.plan import Plan

FORMAT = 1
KINDS = ("allocated", "reserved", "process")
CONSTANTS = ("context_gib", "time.flops", "time.torch_layer_ms")
HOME = str(Path.home())  # it may have a space, at which a path ends to the expression
ENDED = ("ran", "out_of_memory", "failed", "timed_out")
"""States of a cell that was tried; the others are `skipped` and `not_run`."""

Row = dict[str, Any]


def row_of(cell: Cell, status: str, why: str = "") -> Row:
    """A cell that has not been run."""
    settings = {name: value for name, value in asdict(cell).items() if name not in ("name", "kind")}
    return {"name": cell.name, "kind": cell.kind, "status": status, "why": why, "settings": settings}


def finished_row(cell: Cell, plan: Plan, note: str, found: Mapping[str, Any]) -> Row:
    """A cell that was tried. GiB, seconds; errors in percent of what was measured, below zero where the plan is low."""
    row = row_of(cell, found["status"], found["why"] or note)
    measured = {key: value for key, value in found.items() if key not in ("status", "why")}
    if cell.kind == "numerics":
        return row | {"measured": measured}
    planned = plans.record(cell, plan)
    row |= {"planned": planned, "measured": measured}
    if found["status"] == "ran":
        row["errors_percent"] = {
            phase: {kind: error_percent(planned[phase][kind], measured.get(phase, {}).get(kind)) for kind in KINDS}
            for phase in ("load", "update")
            if phase in measured
        } | {"tokens_per_s": _speed_error(planned, measured)}
        if not cell.emulates:
            row["implied"] = implied_constants(plan, measured)
    if cell.emulates and found["status"] in ("ran", "out_of_memory"):
        row["verdict_is_right"] = found["status"] == ("ran" if cell.expected == "runs" else cell.expected)
    return row


def error_percent(planned: float, measured: float | None) -> float | None:
    """By how much the plan is off; None where nothing was measured."""
    return round(100 * (planned / measured - 1), 2) if measured else None


def _speed_error(planned: Mapping[str, Any], measured: Mapping[str, Any]) -> float | None:
    if planned["time"] is None:
        return None
    return error_percent(planned["time"]["update_tokens_per_s"][1], measured.get("update", {}).get("tokens_per_s"))


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """What all rows come to."""
    verdicts = [row for row in rows if "verdict_is_right" in row]
    checks = [
        {**check, "check": f"{row['settings']['engine']}: {check['check']}"}
        for row in rows
        for check in row.get("measured", {}).get("checks", ())
    ]
    return {
        "statuses": {status: sum(row["status"] == status for row in rows) for status in (*ENDED, "skipped", "not_run")},
        "errors_percent": list(_error_summaries(rows)),
        "verdicts": {
            "n": len(verdicts),
            "right": sum(row["verdict_is_right"] for row in verdicts),
            "wrong": [row["name"] for row in verdicts if not row["verdict_is_right"]],
        },
        "numerics": checks + across_engines(rows),
        "constants": measured_constants(rows),
    }


def _error_summaries(rows: Sequence[Row]) -> Iterable[dict[str, Any]]:
    """Mean and worst error by engine, phase and kind, emulated cards left out: their slack is squeezed."""
    whole = [row for row in rows if "errors_percent" in row and not row["settings"]["emulates"]]
    for engine in dict.fromkeys(row["settings"]["engine"] for row in whole):
        for phase in ("load", "update"):
            for kind in KINDS:
                errors = {
                    row["name"]: row["errors_percent"][phase][kind]
                    for row in whole
                    if row["settings"]["engine"] == engine
                    and row["errors_percent"].get(phase, {}).get(kind) is not None
                }
                if errors:
                    worst = max(errors, key=lambda name: abs(errors[name]))
                    yield {
                        "engine": engine,
                        "phase": phase,
                        "kind": kind,
                        "n": len(errors),
                        "mean": round(statistics.fmean(map(abs, errors.values())), 2),
                        "worst": errors[worst],
                        "worst_cell": worst,
                    }


def across_engines(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Unsloth's log-probabilities against transformers', where both loaded the same checkpoint."""
    by_model: dict[tuple[str, bool], dict[str, list[float]]] = {}
    for row in rows:
        if logps := row.get("measured", {}).get("logps"):
            settings = row["settings"]
            by_model.setdefault((settings["size"], settings["load_in_4bit"]), {}).setdefault(settings["engine"], logps)
    checks: list[dict[str, Any]] = []
    for (size, in_4bit), logps in by_model.items():
        if len(logps) == len(ENGINES):
            what = f"{' against '.join(ENGINES)}, {size} {'NF4' if in_4bit else '16-bit'}"
            checks += compare_engines(logps[ENGINES[0]], logps[ENGINES[1]], what)
    return checks


def implied_constants(plan: Plan, measured: Mapping[str, Any]) -> dict[str, float | None]:
    """What one cell says of the constants in toolkit/vram/constants.toml; None where it says nothing.

    `context_gib` is what the process held beyond torch's reserved memory, `slack_gib` what was reserved beyond the
    tensors, `time.flops` the share of the tensor cores' rate that explains the update, `time.torch_layer_ms` what a
    decoding step takes for each layer.
    """
    update, decode = measured.get("update", {}), measured.get("decode")
    allocated, reserved, process = (update.get(kind) for kind in KINDS)
    seconds = update.get("median_update_s")
    step_s = decode["n_sequences"] / decode["tokens_per_s"] if decode else None
    return {
        "context_gib": round(process - reserved, 4) if process and reserved else None,
        "slack_gib": round(reserved - allocated, 4) if reserved and allocated else None,
        "time.flops": plans.tensor_share(plan, seconds) if seconds else None,
        "time.torch_layer_ms": round(1e3 * step_s / plan.shape.n_layers, 3) if step_s else None,
    }


def measured_constants(rows: Sequence[Row]) -> dict[str, Any]:
    """The median of each constant over the cells that say something of it, and how many those are.

    Slack is left out: it differs by loss head and with the size of the pass; `calibration` has a factor on each kind.
    """
    implied = [row["implied"] for row in rows if "implied" in row]
    values = {name: [i[name] for i in implied if i[name] is not None] for name in CONSTANTS}
    return {
        name: {"median": round(statistics.median(found), 4) if found else None, "n": len(found)}
        for name, found in values.items()
    }


def calibration(
    rows: Sequence[Row], planned: Mapping[str, Plan], versions: Mapping[str, str], gpu: Gpu, date: str
) -> Row:
    """What `toolkit plan --calibrate` would keep of these cells: the content of a calibration file for this card.

    Taken are cells without vLLM and emulation whose peak is the update by the plan, since no rollout was made.
    """
    entries = {
        row["name"]: Entry(
            card=asdict(plan.card),
            request=asdict(plan.request),
            shape=asdict(plan.shape),
            measured={kind: row["measured"]["update"].get(kind) for kind in KINDS},
            versions=dict(versions),
            driver=gpu.driver_version,
            date=date,
        )
        for row in rows
        if (plan := planned.get(row["name"])) is not None and plan.card is not None and _teaches(row, plan)
    }
    if not entries:
        return {"format": CALIBRATION_FORMAT, "cards": {}}
    learned = {name: value for name, value in asdict(learn(list(entries.values()))).items() if name != "n_runs"}
    card = next(iter(entries.values())).card["name"]
    runs = {name: asdict(entry) for name, entry in entries.items()}
    return {"format": CALIBRATION_FORMAT, "cards": {card: {"learned": learned, "runs": runs}}}


def _teaches(row: Row, plan: Plan) -> bool:
    settings = row["settings"]
    given = settings["rollouts"] == "given" and not settings["emulates"]
    measured = row.get("measured", {}).get("update", {}).get("process") is not None
    return row["status"] == "ran" and given and measured and plan.peak_phase.name == "update"


def as_written(document: Mapping[str, Any]) -> Row:
    """The document as it is written, for others to read: no path of this machine, of which the last part stays.

    Log-probabilities are only there to be compared, and left out.
    """
    cells = [
        row | {"measured": {k: v for k, v in row["measured"].items() if k != "logps"}} if "measured" in row else row
        for row in document["cells"]
    ]
    return _without_paths({**document, "cells": cells})


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_paths(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(v) for v in value]
    return ABSOLUTE_PATH.sub("", value.replace(HOME, "~")) if isinstance(value, str) else value
