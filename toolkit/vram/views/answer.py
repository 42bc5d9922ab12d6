"""What `toolkit plan` does with its flags: one of five answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from toolkit.errors import SettingsError
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.plan import as_json, make_plan
from toolkit.vram.request import PlanFlags, check
from toolkit.vram.search.suggest import Change, nearest_that_fits
from toolkit.vram.verdict import can_run


def give(flags: PlanFlags) -> None:
    """Print what was asked for: the plan unless another answer was named.

    Raises:
        SettingsError: contradictory flags, or an unknown card.
        ModelError: an unknown model or architecture.
    """
    asked = [name for name in ("table", "fit", "simulate", "calibrate") if getattr(flags, name)]
    if len(asked) > 1:
        raise SettingsError(f"--{asked[0]} with --{asked[1]}", "one of them", "run toolkit plan twice")
    if flags.full and not flags.simulate:
        raise SettingsError("--full without --simulate", "both", "add --simulate")
    if flags.output is not None and not (flags.table or flags.fit):
        raise SettingsError("--output without --table or --fit", "one of them", "add --table or --fit")
    if flags.gpu == "all" and not flags.table:
        raise SettingsError("--gpu all without --table", "one card", "add --table, or name a card")
    check(flags)
    ANSWERS[asked[0] if asked else "plan"](flags)


def _plan(flags: PlanFlags) -> None:
    shape = find(flags.model)
    card = find_card(flags.gpu) if flags.gpu is not None else None
    plan = make_plan(flags, shape, card)
    changes: list[Change] | None = []
    if card is not None and not can_run(plan):
        nearest = nearest_that_fits(flags, shape, card)
        changes = nearest[1] if nearest else None
    if flags.json:
        print(json.dumps(as_json(plan, _as_json(changes)), indent=2))
        return
    from toolkit.display.console import console  # with rich a fifth of the whole answer, which --json can do without
    from toolkit.vram.views.report import render

    console.print(render(plan, changes))


def _as_json(changes: list[Change] | None) -> list[dict[str, Any]] | None:
    return [vars(change) for change in changes] if changes else None


def _table(flags: PlanFlags) -> None:
    from toolkit.vram.views.table import give_table

    give_table(flags)


def _fit(flags: PlanFlags) -> None:
    from toolkit.vram.views.fit import give_fit

    give_fit(flags)


def _simulate(flags: PlanFlags) -> None:
    from toolkit.vram.views.simulated import give_simulation

    give_simulation(flags)


def _calibrate(flags: PlanFlags) -> None:
    from toolkit.vram.views.calibrate import give_calibration

    give_calibration(flags)


ANSWERS: dict[str, Callable[[PlanFlags], None]] = {
    "plan": _plan,
    "table": _table,
    "fit": _fit,
    "simulate": _simulate,
    "calibrate": _calibrate,
}
