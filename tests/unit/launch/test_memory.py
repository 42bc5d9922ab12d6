"""What a run has measured of its memory: peaks from several sources, and none that is guessed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from toolkit.launch.memory import measure
from toolkit.machine.devices import PeakWatch, ProcessMemory, process_memory

GIB = 2**30
ROWS = [
    {"memory/peak_allocated_gib": 5.0, "memory/peak_gib": 6.0},
    {"memory/peak_allocated_gib": 4.0, "memory/peak_gib": 7.0},
]
HELD = ProcessMemory(7.5, "the driver's list of processes")


@pytest.mark.parametrize(
    ("rows", "now", "process", "vllm", "peaks"),
    [
        (ROWS, (3.0, 7.1), HELD, False, (5.0, 7.1, 7.5)),  # what came after the last step counts, too
        (ROWS, (8.0, 9.0), None, False, (8.0, 9.0, None)),
        ([*ROWS, {"memory/peak_gib": 6.0}], (3.0, 6.5), HELD, False, (None, 7.0, 7.5)),  # an unknown step
        (ROWS, (3.0, 7.1), HELD, True, (None, None, 7.5)),  # torch's count holds vLLM's pool
        (ROWS, None, None, False, (None, None, None)),  # no card
    ],
)
def test_peaks_are_joined_and_never_guessed(
    rows: Sequence[dict[str, float]], now: Any, process: Any, vllm: bool, peaks: tuple[float | None, ...]
) -> None:
    found = measure(rows, now, process, vllm=vllm)
    assert (found.peak_allocated_gib, found.peak_reserved_gib, found.peak_process_gib) == peaks


@pytest.mark.parametrize(
    ("listed", "held", "source"),
    [
        ({41: 3 * GIB, 42: 7 * GIB}, 7.0, "list of processes"),
        ({41: 3 * GIB}, 8.5, "free memory"),  # a container: the host's numbers
        ({42: 0}, 8.5, "free memory"),
        ({42: None}, 8.5, "free memory"),  # WSL
    ],
)
def test_the_process_is_found_in_the_drivers_list_or_in_the_cards_free_memory(
    listed: dict[int, int | None], held: float, source: str
) -> None:
    found = process_memory(listed, 42, free_before_gib=23.5, free_now_gib=15.0)
    assert found.gib == held
    assert source in found.source


def test_the_watch_keeps_the_largest_answer_and_ends() -> None:
    answers, all_given = [None, 2.0, 5.0, 3.0], threading.Event()

    def ask() -> ProcessMemory | None:
        if not answers:
            all_given.set()
            return None
        held = answers.pop(0)
        return ProcessMemory(held, "a test") if held else None

    n_threads = threading.active_count()
    with PeakWatch(ask, interval_s=0.001) as watch:
        assert all_given.wait(10)
    assert watch.peak == ProcessMemory(5.0, "a test")
    assert threading.active_count() == n_threads
