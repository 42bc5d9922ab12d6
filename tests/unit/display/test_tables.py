"""One table in three forms: what each keeps, and what each escapes."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console
from rich.text import Text

from toolkit.display.tables import Table, facts, number, rest, words


def table() -> Table:
    made = Table(["name", number("GiB"), words("why")])
    made.add("a|b", "1.50", "less < more & more")
    made.add(Text("bold", "bold"), "12.25", "two\nlines")
    return made


def on_screen(shown: object, width: int = 80) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, _environ={})
    screen.print(shown)
    return [line.rstrip() for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined] # a StringIO


def test_on_a_screen_figures_stand_at_the_right() -> None:
    assert on_screen(table().rich()) == [
        "name    GiB  why",
        "a|b    1.50  less < more & more",
        "bold  12.25  two",
        "             lines",
    ]


def test_markdown_keeps_a_row_on_its_line_and_a_pipe_in_its_field() -> None:
    assert table().markdown().splitlines() == [
        "| name | GiB | why |",
        "| --- | ---: | --- |",
        "| a\\|b | 1.50 | less < more & more |",
        "| bold | 12.25 | two lines |",
    ]


def test_csv_reads_back() -> None:
    rows = list(csv.reader(io.StringIO(table().csv())))
    assert rows == [["name", "GiB", "why"], ["a|b", "1.50", "less < more & more"], ["bold", "12.25", "two\nlines"]]


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 3 columns"):
        table().add("a")


def test_facts_wrap_beside_their_label() -> None:
    assert on_screen(facts([("a label", "x " * 12)]), 20) == [
        "a label  x x x x x x",
        "         x x x x x x",
    ]


def test_brackets_are_no_markup() -> None:
    made = Table(["[bold]name"])
    made.add("[red]x[/red] [/]")
    assert on_screen(made.rich()) == ["[bold]name", "[red]x[/red] [/]"]


def test_a_column_of_beginnings_takes_the_width_that_is_left() -> None:
    made = Table([number("n"), rest("text")])
    made.add("1", "a text that is longer than the room for it")
    assert on_screen(made.rich(), 32) == ["n  text", "1  a text that is longer than t…"]
