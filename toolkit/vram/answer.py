"""What `toolkit plan` does with a request: look up model and card, plan, and print."""

from __future__ import annotations

import json
from typing import Any

from toolkit.console import console
from toolkit.vram.cards import find_card
from toolkit.vram.plan import as_json, make_plan
from toolkit.vram.report import render
from toolkit.vram.request import Request, check
from toolkit.vram.shapes import find
from toolkit.vram.suggest import Change, nearest_that_fits


def give(request: Request) -> None:
    """Print the plan: a table, or with `json` one object.

    Raises:
        SettingsError: contradictory flags, or an unknown card.
        ModelError: an unknown model or architecture.
    """
    check(request)
    shape = find(request.model)
    card = find_card(request.gpu) if request.gpu is not None else None
    plan = make_plan(request, shape, card)
    changes: list[Change] | None = []
    if card is not None and not plan.fits:
        nearest = nearest_that_fits(request, shape, card)
        changes = nearest[1] if nearest else None
    if request.json:
        print(json.dumps(as_json(plan, None if plan.fits else _as_json(changes)), indent=2))
    else:
        console.print(render(plan, changes))


def _as_json(changes: list[Change] | None) -> list[dict[str, Any]] | None:
    return [vars(change) for change in changes] if changes else None
