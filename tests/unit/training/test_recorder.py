"""What is recorded of a step."""

from __future__ import annotations

import math

from toolkit.training.recorder import zero_std_frac


def test_groups_without_signal_are_counted_exactly() -> None:
    assert zero_std_frac([[1, 0.2], [1, 0.2], [1, 0.2], [0, 0.2]], 2) == 0.5
    assert zero_std_frac([[0.1 + 0.2, 0], [0.3, 0]], 2) == 0.0
    # equal sums of unequal parts still teach once the parts are weighted, so they are signal
    assert zero_std_frac([[1, 0], [0, 1]], 2) == 0.0
    assert zero_std_frac([[math.nan, 1], [math.nan, 1]], 2) == 1.0
    assert zero_std_frac([], 8) == 0.0
