"""Rows that ask one thing in other words, and rows that nobody has seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit import data
from toolkit.data import arithmetic, files
from toolkit.data.alike import without_alike
from toolkit.data.schema import Row
from toolkit.errors import DataError
from toolkit.settings import DataSettings


def row(question: str, solution: str = "") -> Row:
    return {"question": question, "worked_solution": solution}


HELD = [
    row("Mia has 3 bags with 7 pens each and loses 5. How many?", "3*7=21\n21-5=16"),
    row("What is the capital of the smallest country of Europe?"),
    row("A train of 120 metres passes a signal in 8 seconds. How fast is it?", "120/8=15"),
]
ALIKE = [
    row("Tom owns 3 boxes of 7 coins, and 5 get stolen. What is left?", "3 * 7 = 21, so 21 - 5 = 16"),  # its equations
    row("what is the Capital of the smallest country of Europe"),  # its words
    row("A train of 120 metres passes a signal in 8 seconds: how fast is it", "120/8=15 m/s"),
]
OTHER = [
    row("Mia has 3 bags with 8 pens each and loses 5. How many?", "3*8=24\n24-5=19"),  # another number
    row("What is the capital of the largest country of Africa?"),
    row("A car of 120 horses needs 8 litres. What does it cost?", "120/8=15"),  # one equation says little
]


def test_rows_that_ask_what_a_held_out_row_asks_are_dropped() -> None:
    more = [row(f"Word{chr(97 + i)} is {i} plus {i + 40}?") for i in range(20)]
    kept, report = without_alike([*ALIKE, *OTHER, *more], HELD)
    assert kept == [*OTHER, *more]
    assert report == ["3 rows dropped: alike with a held-out row (its equations, or its numbers and words)"]
    assert without_alike(OTHER, HELD) == (OTHER, [])


def test_words_of_a_template_tell_nothing_apart() -> None:
    rows = [row(f"What is the capital city of the country that is called {name}?") for name in "abcdefghij"]
    assert without_alike(rows[:8], rows[8:]) == (rows[:8], [])


def test_data_that_repeats_itself_throughout_is_kept_and_told() -> None:
    kept, report = without_alike(ALIKE, HELD)
    assert kept == ALIKE
    assert "the data repeats itself" in report[0]


def test_hidden_rows_are_in_no_other_side(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps({"question": f"What is {i} + {i}?", "answer": i + i}) + "\n" for i in range(50)))
    without, found = (data.load(DataSettings(dataset=str(path), n_eval=5, n_hidden=n_hidden), 0) for n_hidden in (0, 7))
    sides = [{row["question"] for row in side} for side in (found.train, found.held_out, found.hidden)]
    assert [len(side) for side in sides] == [38, 5, 7]
    assert len(set.union(*sides)) == 50
    assert found.held_out == without.held_out
    assert (without.hidden, found.has_reserve) == ([], False)
    assert found.hidden[0]["prompt"][-1]["content"] == found.hidden[0]["question"]
    with pytest.raises(DataError, match="2 distinct questions"):
        files.hold_out([row("a?"), row("b?")], 1, 1)


def test_generated_problems_are_hidden_by_their_equations() -> None:
    def told(rows: list[Row]) -> set[str]:
        return {row["worked_solution"] for row in rows}

    plain, found = arithmetic.load(300, 256, 0), arithmetic.load(300, 256, 0, 400)
    assert found.held_out == plain.held_out
    assert found.train == plain.train
    assert len(told(found.hidden)) == 400
    assert told(found.hidden).isdisjoint(told(found.held_out) | told(found.train))
    with pytest.raises(DataError, match="--n_hidden 2000"):
        arithmetic.load(10, 256, 0, 2000)
