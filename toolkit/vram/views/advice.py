"""The plan of a request, and what makes it run where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.vram.cards import Card
from toolkit.vram.plan import Plan, as_json, can_run, make_plan
from toolkit.vram.request import Request
from toolkit.vram.search.suggest import Change, nearest_that_fits
from toolkit.vram.shapes import Shape

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Advice:
    """A plan, and the changes that make it run."""

    plan: Plan
    changes: list[Change] | None
    """Empty when it runs as asked, None when nothing that is known makes it run."""

    def as_json(self) -> dict[str, Any]:
        """The plan's JSON, with the changes as its suggestion."""
        return as_json(self.plan, [vars(change) for change in self.changes] if self.changes else None)

    def render(self) -> RenderableType:
        """The plan as a person reads it."""
        from toolkit.vram.views import report  # with rich, which the JSON can do without

        return report.render(self.plan, self.changes)


def advise(request: Request, shape: Shape, card: Card | None) -> Advice:
    """Plan a request, and look for the nearest settings that fit where it does not."""
    plan = make_plan(request, shape, card)
    if card is None or can_run(plan):
        return Advice(plan, [])
    nearest = nearest_that_fits(request, shape, card)
    return Advice(plan, nearest[1] if nearest else None)
