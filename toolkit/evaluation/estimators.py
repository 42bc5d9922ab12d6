"""Estimates with their uncertainty, from counts alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson_interval(n_correct: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share (Wilson 1927, JASA 22:209).

    Stays inside [0, 1] and is honest near 0 and 1, where the textbook interval collapses. A tie may count as half.

    Raises:
        ValueError: n is 0, or n_correct is not between 0 and n.
    """
    if n <= 0 or not 0 <= n_correct <= n:
        raise ValueError(f"n_correct {n_correct} of n {n}: wanted 0 <= n_correct <= n and n > 0")
    share, z2 = n_correct / n, Z_95 * Z_95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if n_correct == 0 else centre - half  # exactly 0 and 1 at the ends, which rounding would miss
    high = 1.0 if n_correct == n else centre + half
    return low, high


def mean_interval(values: Sequence[float], bounds: tuple[float, float] | None = None) -> tuple[float, float] | None:
    """The 95 % interval of a mean; None where equal values say nothing of their spread, or there are none.

    `bounds`: the lowest and highest value that there can be; where none are given and all values are 0 or 1, those.
    Where every value is one of the two it is Wilson's, else the normal one, cut to the bounds.
    """
    if bounds is None and set(values) <= {0.0, 1.0}:
        bounds = 0.0, 1.0
    low, high = bounds or (-math.inf, math.inf)
    if values and low < high and set(values) <= {low, high}:
        ends = wilson_interval(sum(value == high for value in values), len(values))
        return low + ends[0] * (high - low), low + ends[1] * (high - low)
    if len(set(values)) < 2:
        return None
    mean, half = statistics.fmean(values), Z_95 * statistics.stdev(values) / math.sqrt(len(values))
    return max(low, mean - half), min(high, mean + half)


def paired_difference(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float, float]:
    """Gain in the share correct on the same problems, with its 95 % interval: (difference, low, high).

    Only problems whose verdict changed carry uncertainty, so this is tighter than comparing two intervals.
    Agresti and Min's adjusted Wald interval (2005, Statistics in Medicine 24:729), which adds half a problem to
    each cell of the 2x2 table.

    Raises:
        ValueError: the two lists are empty or of different length.
    """
    n = len(before)
    if n == 0 or n != len(after):
        raise ValueError(f"{n} verdicts before and {len(after)} after: wanted the same problems, at least one")
    gained = sum(b < a for b, a in zip(before, after, strict=True))
    lost = sum(b > a for b, a in zip(before, after, strict=True))
    up, down, total = gained + 0.5, lost + 0.5, n + 2
    centre = (up - down) / total
    half = Z_95 * math.sqrt((up + down) / total - centre**2) / math.sqrt(total)
    return (gained - lost) / n, max(-1.0, centre - half), min(1.0, centre + half)
