"""Lines of progress, with a clock that is set by hand."""

from __future__ import annotations

from toolkit.display.progress import LINE_EVERY_S, Lines


def test_a_line_now_and_then_with_the_time_left_by_what_was_done_here() -> None:
    now, said = [0.0], []
    lines = Lines("measuring after", said.append, lambda: now[0])
    lines.told(100, 400)  # kept from before a kill: no measure of the pace
    for done in (150, 200, 300):
        now[0] += 10.0
        lines.told(done, 400)
    assert said == ["measuring after: 200 of 400, eta 40s"]
    now[0] += LINE_EVERY_S
    lines.told(400, 400)
    assert len(said) == 1


def test_nothing_is_said_of_what_is_quick() -> None:
    said: list[str] = []
    lines = Lines("x", said.append, lambda: 0.0)
    for done in range(1, 5):
        lines.told(done, 5)
    assert said == []
