"""What finished runs measured, beside their plans and kept for their card.

Every run that is kept is planned anew with the shipped constants and today's formula, so that an old run is judged like
a new one. The context is what the process held beyond torch's reserved memory, the slack is what torch reserved beyond
its tensors, and the residuals of the process are what then remains.
No run on a card has been calibrated yet.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.errors import SettingsError
from toolkit.files import write_json
from toolkit.vram.cards import Card
from toolkit.vram.catalog import find
from toolkit.vram.constants import (
    Learned,
    calibration_file,
    constants_for,
    corrected,
    engine_kind,
    read_calibration,
    slack_kind,
)
from toolkit.vram.mapping import ran_otherwise
from toolkit.vram.plan import KINDS, Plan, make_plan
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape


@dataclass(frozen=True)
class Entry:
    """One measured run, as the calibration file keeps it."""

    card: dict[str, Any]
    """Usable as far as it was free then."""
    request: dict[str, Any]
    shape: dict[str, Any]
    """The model's sizes, since its folder may be gone by the next time."""
    measured: dict[str, float | None]
    """Peak in GiB by kind; None where it was not measured."""
    versions: dict[str, str]
    driver: str
    date: str
    """When it was added."""

    def plan(self, learned: Learned | None = None) -> Plan:
        """The run's plan with the shipped constants, or with those that were learned in their place."""
        request, card = Request(**self.request), Card(**self.card)
        constants = constants_for(card)
        if learned is not None:
            constants = corrected(constants, learned, card.name, request)
        return make_plan(request, Shape(**self.shape), card, constants)


def add_run(folder: Path) -> tuple[Entry, Learned]:
    """Add a finished run to those of its card, and learn from them all.

    Raises:
        SettingsError: no finished run, one without a card, a plan or measurements, or one that ran other settings;
            or the calibration file is broken.
        ModelError: the run's model is no longer where it was.
    """
    entry = read_run(folder)
    path = calibration_file()
    content = read_calibration(path)
    card = content["cards"].setdefault(entry.card["name"], {"learned": {}, "runs": {}})
    card["runs"][str(folder)] = asdict(entry)
    try:
        learned = learn([Entry(**run) for run in card["runs"].values()])
    except (TypeError, KeyError) as error:
        found = f"{path} holds a run of another release ({error})"
        raise SettingsError(found, "runs of this one", "delete the file and calibrate again") from error
    card["learned"] = {key: value for key, value in asdict(learned).items() if key != "n_runs"}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return entry, learned


def learn(entries: Sequence[Entry]) -> Learned:
    """The constants that the runs of one card agree on best.

    - Context: the mean of process less reserved.
    - Slack: a factor for each kind, the mean of those at which a run's plan reserves as much beyond its tensors as the
      run did. Both come from runs without vLLM in the process (see `Measured.counts_vllm`).
    - Residuals: one for each group of runs with the same settings, since a repeated run agrees with itself and says
      nothing about others.
    """
    contexts: list[float] = []
    slack: dict[str, list[float]] = {}
    for entry in entries:
        allocated, reserved, process = (entry.measured[kind] for kind in KINDS)
        if reserved is not None and process is not None:
            contexts.append(process - reserved)
        if allocated is not None and reserved is not None:
            plan = entry.plan()
            slack.setdefault(slack_kind(plan.request), []).append(_slack_factor(plan, reserved - allocated))
    learned = Learned(
        n_runs=len(entries),
        context_gib=statistics.fmean(contexts) if contexts else None,
        slack={kind: statistics.fmean(factors) for kind, factors in slack.items()},
    )
    return replace(learned, residuals_gib=_residuals(entries, learned))


def _slack_factor(plan: Plan, slack_gib: float) -> float:
    """The factor on the planned slack at which the plan reserves `slack_gib` more than it allocates at its peak.

    A phase with fewer tensors and more slack may be the one that reserves most, so the smallest factor decides.
    """
    wanted = plan.peak_allocated_gib + slack_gib
    return min((wanted - phase.allocated_gib) / phase.parts_gib["slack"] for phase in plan.phases.values())


def _residuals(entries: Sequence[Entry], learned: Learned) -> dict[str, list[tuple[float, float]]]:
    alike: dict[Request, list[tuple[float, float]]] = {}
    for entry in entries:
        if (process := entry.measured["process"]) is not None:
            plan = entry.plan(learned)
            alike.setdefault(plan.request, []).append((process - plan.peak_process_gib, plan.peak_process_gib))
    residuals: dict[str, list[tuple[float, float]]] = {}
    for request, pairs in alike.items():
        mean = statistics.fmean(residual for residual, _ in pairs), statistics.fmean(planned for _, planned in pairs)
        residuals.setdefault(engine_kind(request), []).append(mean)
    return residuals


def read_run(folder: Path) -> Entry:
    """Read what a finished run planned and measured. Errors are those of `add_run`."""
    records = {name: _read(folder, name) for name in ("settings.json", "environment.json", "summary.json")}
    summary, environment = records["summary.json"], records["environment.json"]
    try:
        gpus = [part["gpus"][:1] for part in (*environment.get("earlier", ()), environment)]
        if not gpus[-1]:
            raise SettingsError(f"{folder} is a run on a CPU", "a run on a CUDA device, whose memory was measured")
        if any(gpu[0]["name"] != gpus[-1][0]["name"] for gpu in gpus if gpu):
            raise SettingsError(f"{folder} was resumed on another card", "a run on one card")
        plan, memory = summary.get("plan"), summary.get("memory") or {}
        if plan is None:
            raise SettingsError(f"{folder} was not planned", "a run whose output begins with its plan")
        measured = {kind: memory.get(f"peak_{kind}_gib") for kind in KINDS}
        if measured["process"] is None and None in (measured["allocated"], measured["reserved"]):
            raise SettingsError(f"{folder} has no measured memory", "a run that was trained to its end on a card")
        request = Request(**plan["request"])
        if difference := ran_otherwise(request, records["settings.json"]["effective"]):  # Unsloth may raise the batch
            name, ran, planned = difference
            found = f"{folder} ran with {name} {ran} and was planned with {planned}"
            raise SettingsError(found, "a run of the settings that were planned")
        return Entry(
            card=plan["card"],
            request=plan["request"],
            shape=asdict(find(request.model)),
            measured=measured,
            versions=environment["versions"],
            driver=gpus[-1][0]["driver_version"],
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        found = f"the records of {folder} are incomplete ({type(error).__name__}: {error})"
        raise SettingsError(found, "a run folder as the recipes write it") from error


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        found = f"--calibrate {folder} has no {name}"
        raise SettingsError(found, "the folder of a run that ended", "see runs/") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder / name} cannot be read ({error})", "the JSON that a run writes") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{folder / name} holds a {type(content).__name__}", "the JSON object that a run writes")
    return content
