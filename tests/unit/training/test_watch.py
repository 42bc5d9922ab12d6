"""The rules at a run's side: what is said, what is kept, and that a resumed run goes on where it was."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.unit.control.series import CONTEXT, NO_REWARD, Row, sound
from toolkit import runs
from toolkit.control.health import Health
from toolkit.display.live import View
from toolkit.display.panel import render
from toolkit.display.state import RunState
from toolkit.machine.devices import held_by_others
from toolkit.runs import metrics
from toolkit.runs.record import HEALTH
from toolkit.training.watch import Watch, with_held_out


def view_to(out: io.StringIO) -> View:
    return View(RunState("r", "m", "b", "f", n_steps=10), Console(file=out, width=120))


@pytest.fixture
def run(tmp_path: Path) -> runs.Run:
    return runs.create("recipe", tmp_path / "run", {})


def take(watch: Watch, run: runs.Run, rows: list[Row]) -> list[Row]:
    """Each row through the watch as a step goes; the rows as metrics.jsonl keeps them."""
    kept = []
    for row in rows:
        step = row["step"]
        values: dict[str, Any] = {key: value for key, value in row.items() if key != "step"}
        values |= watch.metrics(step)
        values |= watch.judge(step, values)
        run.append_metrics({"step": step, **values})
        watch.step_done(step, values)
        kept.append(values)
    return kept


def test_flat_rounds_are_said_once_in_plain_lines_and_again_when_it_is_over(run: runs.Run) -> None:
    out = io.StringIO()
    view = view_to(out)
    rows = [*sound(4, **NO_REWARD), *sound(4)]
    kept = take(Watch(Health(CONTEXT), run, view), run, [row | {"step": i} for i, row in enumerate(rows, start=1)])
    said = [line for line in out.getvalue().splitlines() if "R26" in line]
    assert len(said) == 2
    assert said[0].startswith("health red, step 2, R26 every group flat: ")
    assert "always 0: correct, format" in said[0]
    assert said[1] == "health: R26 every group flat is over (steps 2 to 5)"
    assert [row[metrics.HEALTH_RED] for row in kept] == [[], *[["R26"]] * 4, [], [], []]
    assert kept[1][metrics.HEALTH_LEVEL] == 2.0
    assert view.state.findings == []


def test_what_another_verdict_says_already_is_recorded_and_not_said(run: runs.Run) -> None:
    out = io.StringIO()
    flat = sound(30, **NO_REWARD, completions__clipped_ratio=1.0, completions__mean_terminated_length=0.0)
    kept = take(Watch(Health(CONTEXT), run, view_to(out)), run, flat)
    assert {"R26", "R01", "R02", "R03", "R04"} <= set(kept[-1][metrics.HEALTH_RED])
    said = [line for line in out.getvalue().splitlines() if line.startswith("health")]
    assert [line.split()[4] for line in said] == ["R26", "R02"]


def test_the_panel_shows_the_worst_in_one_line(run: runs.Run) -> None:
    view = view_to(io.StringIO())
    take(Watch(Health(CONTEXT), run, view), run, sound(2, **NO_REWARD, completions__clipped_ratio=0.9))
    for row in run.rows:
        view.state.record(row["step"], row)
    shown = Console(file=io.StringIO(), width=80)
    shown.print(render(view.state, 80))
    text = shown.file.getvalue()  # type: ignore[attr-defined] # the StringIO from above
    [line] = [line for line in text.splitlines() if "health" in line]
    assert "+1 more" in line
    assert "R26 every group flat: every compl" in line
    assert len(line) == 80


def test_a_resumed_run_goes_on_with_the_state_of_its_rows(run: runs.Run) -> None:
    rows = sound(6, **NO_REWARD)
    take(Watch(Health(CONTEXT), run, view_to(io.StringIO())), run, rows[:4])
    out = io.StringIO()
    again = Watch(Health(CONTEXT), run, view_to(out))
    take(again, run, rows[4:])
    assert out.getvalue() == ""  # said before
    again.record()
    recorded = json.loads((run.folder / "summary.json").read_text())[HEALTH]
    [flat] = [verdict for verdict in recorded["verdicts"] if verdict["rule"] == "R26"]
    assert (flat["level"], flat["first_step"], flat["last_step"]) == ("red", 2, 6)
    assert recorded["level"] == "red"


def test_a_measurement_joins_what_tripped_in_training(run: runs.Run) -> None:
    rows = sound()
    take(Watch(Health(CONTEXT), run, view_to(io.StringIO())), run, rows)
    summary = {
        "before": {"mean_tokens": 100.0},
        "after": {"mean_tokens": 100.0},
        "difference": {"value": -0.05, "interval": [-0.08, -0.02]},
        HEALTH: Health(CONTEXT).as_json(),
    }
    found = with_held_out(summary, run.rows)[HEALTH]
    assert [(verdict["rule"], verdict["level"]) for verdict in found["verdicts"]] == [("R40", "red")]
    assert found["level"] == "red"
    assert not {"R40", "R41"} & set(found["not_judged"])
    no_pass = {**summary, "difference": {"value": None, "interval": None}}
    assert with_held_out(no_pass, run.rows) == no_pass


def test_who_else_is_on_the_card_is_asked_now_and_then(run: runs.Run) -> None:
    watch = Watch(Health(CONTEXT), run, view_to(io.StringIO()), ask_foreign=lambda: 3.0)
    kept = take(watch, run, sound(21))
    assert [i for i, row in enumerate(kept, start=1) if metrics.FOREIGN_GIB in row] == [1, 11, 21]
    assert kept[-1][metrics.HEALTH_AMBER] == ["R23"]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [({1: 2**30, 7: 2**31}, 2.0), ({1: 2**30, 2: 2**30}, 0.0), ({7: 2**31}, None), ({1: None, 7: None}, 0.0)],
)
def test_what_others_hold_is_known_where_the_driver_lists_this_process(
    listed: dict[int, int | None], expected: float | None
) -> None:
    assert held_by_others(listed, own={1, 2}) == expected
