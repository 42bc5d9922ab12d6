"""What fits, by the planner alone and with nothing run: a sweep's cells, and models over the usual cards.

Every figure here is predicted, and each table says by which planner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.bench.predict import planner_of
from toolkit.bench.store import Record
from toolkit.bench.tables import UNKNOWN, rows_of, varied
from toolkit.display.tables import Table, number
from toolkit.errors import SettingsError
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.constants import constants_for
from toolkit.vram.plan import Plan, can_run, make_plan, surely_fits
from toolkit.vram.request import Request
from toolkit.vram.search.growth import last_that_works, lengths, with_num_generations
from toolkit.vram.shapes import Shape

CARDS = ("RTX 3060 12GB", "RTX 4060 Ti 16GB", "RTX 4090", "RTX 5090")
"""The card of each size, 12, 16, 24 and 32 GB, that most people have."""
QWEN25 = tuple(f"Qwen/Qwen2.5-{size}-Instruct" for size in ("0.5B", "1.5B", "3B", "7B", "14B"))
QWEN3 = tuple(f"Qwen/Qwen3-{size}" for size in ("0.6B", "1.7B", "4B", "8B", "14B"))
GENERATIONS = (4, 8, 16)
CHECKPOINTING = ("none", "hf", "unsloth")


def cells_table(records: Sequence[Record]) -> Table:
    """The cells of a sweep as the planner sees them, a row each; every row says that it is predicted, and by what.

    Raises:
        SettingsError: the planner knows no card for them.
    """
    rows = rows_of(records)
    plans = [(row, plan) for row in rows if (plan := row.records[0]["predicted"])]
    if not plans:
        found = "no cell can be planned: the spec names no card and this machine has none"
        raise SettingsError(found, "a card in the spec, such as card: 4090")
    names = varied(rows)
    figures = map(number, ("peak GiB", "from", "to", "usable GiB", "s/step"))
    table = Table([*names, *figures, "largest in", "on the card", "source"])
    for row, plan in plans:
        sizes = (plan["peak_gib"], plan["low_gib"], plan["high_gib"], plan["usable_gib"], plan["step_s"])
        said = [UNKNOWN if size is None else f"{size:.2f}" for size in sizes]
        settings = [str(row.point.get(name, UNKNOWN)) for name in names]
        table.add(*settings, *said, plan["peak_phase"], plan["fit"], f"predicted ({plan['planner']})")
    return table


def cells_markdown(name: str, records: Sequence[Record]) -> str:
    """`cells_table` under a heading that says what it is not."""
    table = cells_table(records)
    card = next(record["predicted"]["card"] for record in records if record["predicted"])
    said = f"Predicted for {card}, not measured: no cell has run. Peaks are of the process, with the plan's interval."
    return f"# {name}: what the planner expects\n\n{said}\n\n{table.markdown()}"


@dataclass(frozen=True)
class Fitting:
    """The longest completions of one model on one card, in tokens; None where not even 64 fit."""

    model: str
    card: Card
    num_generations: int
    gradient_checkpointing: str
    surely: int | None
    """Even the upper end of the plan's interval is within the card."""
    perhaps: int | None
    """The peak is."""

    def record(self) -> dict[str, Any]:
        """One flat mapping, for CSV."""
        return {
            "model": self.model,
            "card": self.card.name,
            "usable_gib": self.card.usable_gib,
            "num_generations": self.num_generations,
            "gradient_checkpointing": self.gradient_checkpointing,
            "max_completion_length_surely": self.surely or 0,
            "max_completion_length_perhaps": self.perhaps or 0,
            "source": f"predicted ({planner_of()})",
        }


def fitting(models: Sequence[str], card: Card) -> Iterator[Fitting]:
    """Every model on a card by group size and checkpointing; without what runs on this machine taught about it.

    Unsloth, 4 bit, vLLM with standby; prompts of 512 tokens, adapters of rank 32, one group a forward pass and four a
    round, as `Request` has them.
    """
    for model in models:
        shape = find(model)
        for n in GENERATIONS:
            asked = with_num_generations(Request(model=model, standby=True), n)
            for kind in CHECKPOINTING:
                request = replace(asked, gradient_checkpointing=kind)
                found = _longest(request, shape, card)
                yield Fitting(shape.name, card, n, kind, *found)


def _longest(request: Request, shape: Shape, card: Card) -> tuple[int | None, int | None]:
    """The longest completions that surely fit, and that may."""
    plans: dict[int, Plan] = {}
    constants = constants_for(card)  # the shipped ones

    def plan_at(tokens: int) -> Plan:
        if tokens not in plans:
            plans[tokens] = make_plan(request.with_length(tokens), shape, card, constants)
        return plans[tokens]

    among = lengths(request, shape)
    surely = last_that_works(among, lambda tokens: surely_fits(plan_at(tokens)))
    return surely, last_that_works(among, lambda tokens: can_run(plan_at(tokens)))


def fitting_table(found: Sequence[Fitting]) -> Table:
    """A row a model, a column a group size; in a field the longest completion by kind of checkpointing."""
    by_place = {(f.model, f.num_generations, f.gradient_checkpointing): f for f in found}
    sizes = list(dict.fromkeys(f.num_generations for f in found))
    table = Table(["model", *(number(f"{n} generations") for n in sizes)])
    for model in dict.fromkeys(f.model for f in found):
        told = [[_tokens(by_place[model, n, kind].surely) for kind in CHECKPOINTING] for n in sizes]
        table.add(model.rpartition("/")[2].removesuffix("-Instruct"), *map(" / ".join, told))
    return table


def fitting_csv(found: Sequence[Fitting]) -> str:
    """A line for each, with both lengths."""
    records: list[Mapping[str, Any]] = [one.record() for one in found]
    table = Table(list(records[0]))
    for record in records:
        table.add(*map(str, record.values()))
    return table.csv()


def cards() -> list[Card]:
    """`CARDS`."""
    return [find_card(name) for name in CARDS]


def _tokens(n: int | None) -> str:
    return UNKNOWN if n is None else f"{n:,}"
