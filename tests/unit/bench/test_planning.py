"""What fits by the plan: the committed tables are today's, and every figure says that it is predicted."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import planning_tables
from toolkit.bench.planning import QWEN3, QWEN25, Fitting, cards, cells_markdown, cells_table, fitting
from toolkit.errors import SettingsError
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.plan import make_plan, surely_fits
from toolkit.vram.request import Request


@pytest.fixture(scope="module")
def found() -> list[Fitting]:
    return [one for card in cards() for one in fitting((*QWEN25, *QWEN3), card)]


def test_the_committed_tables_are_what_the_planner_says_today(found: list[Fitting]) -> None:
    for path, content in planning_tables.contents(found).items():
        same = path.read_text(encoding="utf-8") == content
        assert same, f"{path.name} is out of date: python benchmarks/planning_tables.py"


def test_every_table_and_line_is_marked_predicted(found: list[Fitting]) -> None:
    every = planning_tables.all_tables(found)
    assert every.count("Predicted (planner ") == every.count("### ") == 4
    assert "predicted (planner " in planning_tables.most_asked(found)
    contents = planning_tables.contents(found)
    lines = contents[planning_tables.CSV].splitlines()[1:]
    assert len(lines) == 4 * 10 * 3 * 3
    assert all("predicted (planner " in line for line in lines)


def test_a_length_is_the_last_that_fits(found: list[Fitting]) -> None:
    card, name = find_card("4090"), "Qwen/Qwen2.5-7B-Instruct"
    shape, asked = find(name), Request(model=name, standby=True, gradient_checkpointing="hf")
    (one,) = (f for f in found if (f.model, f.card, f.num_generations) == (name, card, 8) if is_hf(f))
    assert one.surely
    fits = [surely_fits(make_plan(asked.with_length(one.surely + more), shape, card)) for more in (0, 64)]
    assert fits == [True, False]


def is_hf(one: Fitting) -> bool:
    return one.gradient_checkpointing == "hf"


def planned(plan: dict[str, Any] | None, **point: Any) -> dict[str, Any]:
    return {"id": "x", "point": point, "status": "not_run", "why": "", "measured": {}, "predicted": plan}


PLAN = {"card": "RTX 3060 12GB", "usable_gib": 11.62, "planner": "planner 9.9", "fits": True, "fit": "tight"}
PLAN |= {"peak_gib": 11.0, "low_gib": 10.5, "high_gib": 12.25, "peak_phase": "update", "step_s": None}


def test_a_sweep_that_has_not_run_has_a_table_too() -> None:
    records = [planned(PLAN, g=4), planned(PLAN | {"fit": "too large", "peak_gib": 14.0}, g=8)]
    assert cells_table(records).csv().splitlines() == [
        "g,peak GiB,from,to,usable GiB,s/step,largest in,on the card,source",
        "4,11.00,10.50,12.25,11.62,-,update,tight,predicted (planner 9.9)",
        "8,14.00,10.50,12.25,11.62,-,update,too large,predicted (planner 9.9)",
    ]
    assert "Predicted for RTX 3060 12GB, not measured" in cells_markdown("12gb", records)
    with pytest.raises(SettingsError, match="names no card and this machine has none; wanted a card in the spec"):
        cells_table([planned(None, g=4)])
