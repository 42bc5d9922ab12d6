"""Counts as people read them."""

from __future__ import annotations

from toolkit.units import plural


def test_one_is_no_plural() -> None:
    assert [plural(n, "row") for n in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
