"""`toolkit plan --simulate`: the update on fake tensors, beside the formula that the plan stands on."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from toolkit.compat.versions import find_package, pip_line, tested_set
from toolkit.display.tables import Table, facts, number
from toolkit.errors import BackendError, ModelError, ToolkitError
from toolkit.units import format_count, format_seconds, gib
from toolkit.vram.cards import Card
from toolkit.vram.formula import costs
from toolkit.vram.formula.update import Update, update_of
from toolkit.vram.plan import make_plan
from toolkit.vram.request import Request
from toolkit.vram.shapes import Shape
from toolkit.vram.views import report

if TYPE_CHECKING:
    from toolkit.vram.simulation import SimulatedPeak

NEEDED = ("torch", "transformers", "peft", "bitsandbytes", "trl")
PARTS = ("weights", "lora", "optimizer", "gradients")
ROWS = {name: report.ROWS[name] for name in PARTS} | {"rest": "the rest", "total": "allocated", "reserved": "reserved"}
SHOWN_GIB = 0.005  # less is an empty field: two decimals would say 0.00


@dataclass(frozen=True)
class Comparison:
    """Formula and simulation of one update. GiB; keys as in `ROWS`, `reserved` only where it was simulated."""

    shape: Shape
    request: Request
    formula_gib: dict[str, float]
    simulated_gib: dict[str, float]
    stage: str
    """Where the formula has its peak."""
    peak: SimulatedPeak

    def difference(self, row: str) -> float | None:
        """Formula over simulation less one, as a share; None where nothing was simulated."""
        simulated = self.simulated_gib.get(row)
        return self.formula_gib[row] / simulated - 1 if simulated else None

    def as_json(self) -> dict[str, Any]:
        """Both sides in GiB, their difference as a share of the simulation; null where there is nothing to compare."""
        peak, simulated = self.peak, self.simulated_gib
        difference = {row: self.difference(row) for row in ROWS}
        return {
            "model": {"name": self.shape.name, "parameters": self.shape.parameters()},
            "formula_gib": {row: round(value, 4) for row, value in self.formula_gib.items()},
            "simulated_gib": {row: round(simulated[row], 4) if row in simulated else None for row in ROWS},
            "difference_frac": {row: None if value is None else round(value, 4) for row, value in difference.items()},
            "phase": {"formula": self.stage, "simulated": peak.phase},
            "layers": {"simulated": list(peak.depths), "model": self.shape.n_layers},
            "seconds": round(peak.seconds, 2),
            "notes": _notes(self.request),
        }

    def render(self) -> RenderableType:
        """Formula beside simulation, part by part, and what was simulated."""
        shape, request = self.shape, self.request
        size = f"{format_count(shape.parameters())} parameters"
        title = Text.assemble((shape.name, "bold"), f", {size}, one update of {request.task} with {request.method}")
        return Group(title, "", _table(self), "", facts(_facts(self)))


def compare(request: Request, shape: Shape, card: Card | None, *, full: bool = False) -> Comparison:
    """Simulate the update, with two depths or in full. Seconds of CPU, most of them torch's import.

    Raises:
        ModelError: a model that transformers cannot build.
        BackendError: torch or another package of the training stack is missing.
        ContractError: the installed releases are not those that the simulation stands on.
    """
    run = replace(request, beta=0.0) if request.method == "full" else request  # no reference copy, see `_notes`
    update = update_of(run, shape, card)
    plan, formula = make_plan(run, shape, card), costs.peak(shape, update)
    _check_packages()
    peak = _simulate(shape, update, full=full)
    formula_gib = _formula_gib(formula, plan.phases["update"].parts_gib["slack"])
    return Comparison(shape, request, formula_gib, _simulated_gib(peak), formula.stage.name, peak)


def _check_packages() -> None:
    missing = [name for name in NEEDED if find_package(name) is None]
    if missing:
        wanted = pip_line(*(requirement for requirement in tested_set().base if requirement.name in missing))
        raise BackendError(
            f"--simulate without {', '.join(missing)}", wanted, "or drop --simulate: the plan needs none"
        )


def _simulate(shape: Shape, update: Update, *, full: bool) -> SimulatedPeak:
    """Notices of the training stack stay off the screen: what matters comes as an exception as well."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from toolkit.vram.simulation import extrapolate, simulate

            return (simulate if full else extrapolate)(shape.config, update)
    except ToolkitError:
        raise
    except Exception as error:  # a config may hold nonsense that only transformers reads, and fails on in many ways
        found = f"the update of {shape.name} cannot be simulated ({type(error).__name__}: {error})"
        raise ModelError(found, "a model that transformers can build", "or plan without --simulate") from error
    finally:
        logging.disable(before)


def _formula_gib(peak: costs.Peak, slack_gib: float) -> dict[str, float]:
    """The formula's parts. `reserved` is tensors and the plan's slack, without the workspaces of cuBLAS."""
    stage = peak.stage
    rest = stage.activations + stage.logits + peak.mask
    parts = {"weights": peak.weights, "lora": peak.lora, "optimizer": peak.optimizer, "gradients": stage.gradients}
    in_gib = {name: gib(size) for name, size in (parts | {"rest": rest, "total": peak.total}).items()}
    return in_gib | {"reserved": in_gib["total"] + slack_gib}


def _simulated_gib(peak: SimulatedPeak) -> dict[str, float]:
    parts = {name: peak.by_part[name] for name in PARTS}
    rest = peak.by_part["rest"] + peak.by_part["inputs"]
    reserved = {} if peak.reserved_bytes is None else {"reserved": peak.reserved_bytes}
    return {name: gib(size) for name, size in (parts | {"rest": rest, "total": peak.peak_bytes} | reserved).items()}


def _table(found: Comparison) -> RichTable:
    table = Table(["GiB", *map(number, ("formula", "simulated", "difference"))])
    for row, label in ROWS.items():
        if row not in found.simulated_gib:
            continue
        style = "bold" if row == "total" else ""
        sides = [side[row] for side in (found.formula_gib, found.simulated_gib)]
        fields = [f"{value:.2f}" if value >= SHOWN_GIB else "" for value in sides]
        difference = found.difference(row) if all(fields) else None
        fields.append("" if difference is None else f"{difference:+.1%}")
        table.add(*(Text(field, style) for field in (label, *fields)))
    return table.rich(gap=3)


def _facts(found: Comparison) -> list[tuple[str, str]]:
    peak = found.peak
    return [
        ("simulated", "the code of transformers, PEFT, bitsandbytes and TRL on fake tensors: shapes without data"),
        ("depth", _depth(found)),
        ("peak", f"formula: {found.stage}; simulation: {peak.phase}"),
        ("took", f"{format_seconds(peak.seconds)}, loading of torch included"),
        *(("note", note) for note in _notes(found.request)),
    ]


def _depth(found: Comparison) -> str:
    n_layers = found.shape.n_layers
    if len(found.peak.depths) == 1:
        return f"all {n_layers} layers"
    near, far = found.peak.depths
    return f"{near} and {far} layers, extended to {n_layers}; --full simulates all"


def _notes(request: Request) -> list[str]:
    """What the simulation leaves out of this request."""
    notes = []
    if request.framework == "unsloth":
        notes.append("Unsloth's own kernels are not run: its checkpoints and loss head over transformers' layers")
    if request.optim == "paged_adamw_8bit":
        notes.append("the optimizer's state is counted on the card; paged, it may leave for the host")
    if request.method == "full" and request.beta > 0:
        notes.append("the copy of all weights that beta needs as a reference is left out of both")
    return notes
