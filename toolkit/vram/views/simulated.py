"""`toolkit plan --simulate`: the update on fake tensors, beside the formula that the plan stands on."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.compat.versions import find_package, pip_line, tested_set
from toolkit.display.console import console
from toolkit.errors import BackendError, ModelError, ToolkitError
from toolkit.units import format_count, format_seconds, gib
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.formula import costs
from toolkit.vram.formula.update import Update, update_of
from toolkit.vram.plan import make_plan
from toolkit.vram.request import PlanFlags, Request
from toolkit.vram.shapes import Shape

if TYPE_CHECKING:
    from toolkit.vram.simulation import SimulatedPeak

NEEDED = ("torch", "transformers", "peft", "bitsandbytes", "trl")
ROWS = {
    "weights": "weights",
    "lora": "LoRA",
    "optimizer": "optimizer",
    "gradients": "gradients",
    "rest": "the rest",
    "total": "allocated",
    "reserved": "reserved",
}
SHOWN_GIB = 0.005  # less is an empty field: two decimals would say 0.00


@dataclass(frozen=True)
class Comparison:
    """Formula and simulation of one update. GiB; keys as in `ROWS`, `reserved` only where it was simulated."""

    shape: Shape
    request: Request
    formula_gib: dict[str, float]
    simulated_gib: dict[str, float]
    moment: str
    """Where the formula has its peak."""
    peak: SimulatedPeak

    def difference(self, row: str) -> float | None:
        """Formula over simulation less one, as a share; None where nothing was simulated."""
        simulated = self.simulated_gib.get(row)
        return self.formula_gib[row] / simulated - 1 if simulated else None


def give_simulation(flags: PlanFlags) -> None:
    """Simulate the update and print it beside the formula. Seconds of CPU, most of them torch's import.

    Raises:
        SettingsError: an unknown card.
        ModelError: an unknown model, or one that transformers cannot build.
        BackendError: torch or another package of the training stack is missing.
        ContractError: the installed releases are not those that the simulation stands on.
    """
    shape = find(flags.model)
    card = find_card(flags.gpu) if flags.gpu is not None else None
    request = replace(flags, beta=0.0) if flags.method == "full" else flags  # no copy for reference, see `_notes`
    update = update_of(request, shape, card)
    plan, formula = make_plan(request, shape, card), costs.peak(shape, update)
    _check_packages()
    peak = _simulate(shape, update, full=flags.full)
    slack_gib = plan.phases["update"].parts_gib["slack"]
    found = Comparison(shape, flags, _formula_gib(formula, slack_gib), _simulated_gib(peak), formula.moment.name, peak)
    if flags.json:
        print(json.dumps(_as_json(found), indent=2))
    else:
        console.print(render(found))


def _check_packages() -> None:
    missing = [name for name in NEEDED if find_package(name) is None]
    if missing:
        wanted = pip_line(*(requirement for requirement in tested_set().base if requirement.name in missing))
        raise BackendError(
            f"--simulate without {', '.join(missing)}", wanted, "or drop --simulate: the plan needs none"
        )


def _simulate(shape: Shape, update: Update, *, full: bool) -> SimulatedPeak:
    """Run the simulation, behind a spinner where somebody watches."""
    with Console(stderr=True).status(f"loading torch to simulate {shape.name}"), _others_silent():
        from toolkit.vram.simulation import extrapolate, simulate

        try:
            return (simulate if full else extrapolate)(shape.config, update)
        except ToolkitError:
            raise
        except (
            Exception
        ) as error:  # a config may hold nonsense that only transformers reads; each class fails in its way
            found = f"the update of {shape.name} cannot be simulated ({type(error).__name__}: {error})"
            raise ModelError(found, "a model that transformers can build", "or plan without --simulate") from error


@contextmanager
def _others_silent() -> Iterator[None]:
    """Keep notices of the training stack off the screen. What matters comes as an exception, too."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _formula_gib(peak: costs.Peak, slack_gib: float) -> dict[str, float]:
    """The formula's parts. `reserved` is the tensors and the plan's slack, without the workspaces of cuBLAS."""
    moment = peak.moment
    rest = moment.activations + moment.logits + peak.mask
    parts = {"weights": peak.weights, "lora": peak.lora, "optimizer": peak.optimizer, "gradients": moment.gradients}
    in_gib = {name: gib(size) for name, size in (parts | {"rest": rest, "total": peak.total}).items()}
    return in_gib | {"reserved": in_gib["total"] + slack_gib}


def _simulated_gib(peak: SimulatedPeak) -> dict[str, float]:
    parts = {name: peak.by_part[name] for name in ("weights", "lora", "optimizer", "gradients")}
    rest = peak.by_part["rest"] + peak.by_part["inputs"]
    reserved = {} if peak.reserved_bytes is None else {"reserved": peak.reserved_bytes}
    return {name: gib(size) for name, size in (parts | {"rest": rest, "total": peak.peak_bytes} | reserved).items()}


def render(found: Comparison) -> RenderableType:
    """Formula beside simulation, part by part, and what was simulated."""
    request = found.request
    title = Text.assemble(
        (found.shape.name, "bold"),
        f", {format_count(found.shape.parameters())} parameters, one update of {request.task} with {request.method}",
    )
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for name, fact in _facts(found):
        facts.add_row(name, fact)
    return Group(title, "", _table(found), "", facts)


def _table(found: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("GiB", no_wrap=True)
    for name in ("formula", "simulated", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, label in ROWS.items():
        if row not in found.simulated_gib:
            continue
        style = "bold" if row == "total" else ""
        sides = [side[row] for side in (found.formula_gib, found.simulated_gib)]
        fields = [f"{value:.2f}" if value >= SHOWN_GIB else "" for value in sides]
        difference = found.difference(row) if all(fields) else None
        table.add_row(label, *fields, "" if difference is None else f"{difference:+.1%}", style=style)
    return table


def _facts(found: Comparison) -> list[tuple[str, str]]:
    peak = found.peak
    return [
        ("simulated", "the code of transformers, PEFT, bitsandbytes and TRL on fake tensors: shapes without data"),
        ("depth", _depth(found)),
        ("peak", f"formula: {found.moment}; simulation: {peak.phase}"),
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


def _as_json(found: Comparison) -> dict[str, Any]:
    """Both sides in GiB, their difference as a share of the simulation; null where there is nothing to compare."""
    peak = found.peak
    difference = {row: found.difference(row) for row in ROWS}
    return {
        "model": {"name": found.shape.name, "parameters": found.shape.parameters()},
        "formula_gib": {row: round(value, 4) for row, value in found.formula_gib.items()},
        "simulated_gib": {
            row: round(found.simulated_gib[row], 4) if row in found.simulated_gib else None for row in ROWS
        },
        "difference_frac": {row: None if value is None else round(value, 4) for row, value in difference.items()},
        "phase": {"formula": found.moment, "simulated": peak.phase},
        "layers": {"simulated": list(peak.depths), "model": found.shape.n_layers},
        "seconds": round(peak.seconds, 2),
        "notes": _notes(found.request),
    }
