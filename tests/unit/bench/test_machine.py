"""Whether times can be trusted is known from what runs before a cell, not from the cell before it."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from tests.unit.launch.test_session import RTX_4090
from toolkit.bench import machine
from toolkit.machine.devices import CardProcess


@pytest.mark.parametrize(("percent", "told"), [(8.0, ""), (80.0, "other programs take 80% of the cores")])
def test_busy_cores_are_told(monkeypatch: pytest.MonkeyPatch, percent: float, told: str) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: percent)
    found = machine.describe([])
    assert machine.in_words(found) == told
    assert (found["busy_frac"], found["is_quiet"]) == (percent / 100, not told)


def test_a_foreign_process_on_the_card_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_the_card(gpu: Any) -> dict[str, Any]:
        return {"sm_mhz": 2520}

    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 0.0)
    monkeypatch.setattr(machine, "other_processes", lambda gpu: [CardProcess(7, "game", 3.5)])
    monkeypatch.setattr(machine, "_of_the_card", of_the_card)
    found = machine.describe([RTX_4090])
    assert machine.in_words(found) == "1 other process computes on the card"
    assert (found["others"], found["sm_mhz"]) == ([{"program": "game", "gib": 3.5}], 2520)
