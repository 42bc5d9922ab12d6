"""A process may be told to take its card for a smaller one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.launch.test_session import RTX_4090
from toolkit.machine import devices, smaller_card


def test_a_smaller_card_is_planned_for_and_the_real_one_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    card = replace(RTX_4090, total_gib=23.5, free_gib=20.0)
    monkeypatch.setenv(devices.LIKE_GIB, "11.5")
    smaller = devices._as_asked(card)
    assert (smaller.total_gib, smaller.free_gib, smaller.withheld_gib) == (11.5, 8.0, 12.0)
    monkeypatch.setenv(devices.LIKE_GIB, "48")
    assert devices._as_asked(card) == card, "no card grows"
    monkeypatch.delenv(devices.LIKE_GIB)
    assert devices._as_asked(card) == card
    smaller_card.apply(card)  # nothing to limit: torch is not asked
