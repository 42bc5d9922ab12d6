"""The first signal asks for an end at the next step that can be resumed, the second ends at once."""

from __future__ import annotations

import signal

import pytest

from toolkit.training.stop import SIGNALS, Stop


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_second_signal_aborts_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(n) for n in SIGNALS]
    said: list[str] = []
    with Stop(said.append, last_step=4, steps_per_round=4) as stop:
        stop.last_step = 5
        signal.raise_signal(number)
        assert stop.requested
        assert said == ["stopping after step 8, with a checkpoint; once more to abort at once"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_a_print_that_is_interrupted_by_the_signal_does_not_end_the_run() -> None:
    def refuse(text: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

    with Stop(refuse) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
