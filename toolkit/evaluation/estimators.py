"""Estimates with their uncertainty, from counts alone."""

from __future__ import annotations

import math
import random
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


def pass_at_k(n: int, n_right: int, k: int) -> float:
    """The chance that at least one of k completions is right, estimated from n, of which `n_right` are, without bias.

    1 - C(n - n_right, k) / C(n, k), as a product (Chen et al. 2021, arXiv:2107.03374, equation 1).

    Raises:
        ValueError: k is not between 1 and n, or `n_right` not between 0 and n.
    """
    if not 1 <= k <= n or not 0 <= n_right <= n:
        raise ValueError(f"k {k}, n_right {n_right} of n {n}: wanted 1 <= k <= n and 0 <= n_right <= n")
    if n - n_right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - n_right + 1, n + 1))


def maj_at_k(answers: Sequence[str | None], rights: Sequence[bool], k: int) -> float:
    """How often the answer that most of k completions give is right (Wang et al. 2022, arXiv:2203.11171).

    The mean over the whole blocks of k neighbours among the completions. `answers`: what each gives, equal texts for
    equal answers; None gives none and has no vote. The first given wins a tie. Whether an answer is right, the first
    completion of the block that gives it says.

    Raises:
        ValueError: k is not between 1 and the number of completions, or the lists differ in length.
    """
    if len(answers) != len(rights) or not 1 <= k <= len(answers):
        raise ValueError(f"k {k} of {len(answers)} answers and {len(rights)} verdicts: wanted 1 <= k <= n")
    won = []
    for start in range(0, len(answers) - k + 1, k):
        block = [answer for answer in answers[start : start + k] if answer is not None]
        winner = max(dict.fromkeys(block), key=block.count, default=None)
        won.append(winner is not None and rights[answers.index(winner, start)])
    return sum(won) / len(won)


N_RESAMPLES = 2000


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """The 95 % percentile interval of a mean over problems, by drawing them with replacement (Efron 1979).

    Problems are drawn, not completions, since those of one problem are alike. The same for the same values and seed.
    None where equal values say nothing of their spread, or there are none.
    """
    if len(set(values)) < 2:
        return None
    rng, n = random.Random(seed), len(values)
    means = sorted(math.fsum(rng.choices(values, k=n)) / n for _ in range(N_RESAMPLES))
    return means[round(0.025 * N_RESAMPLES)], means[round(0.975 * N_RESAMPLES) - 1]


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value that as many are gained as lost by chance (McNemar 1947, by the binomial).

    Only problems that were right once and wrong once count. 1.0 where there are none.

    Raises:
        ValueError: a count below 0.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"{gained} gained and {lost} lost: wanted counts")
    n = gained + lost
    tail = sum(math.comb(n, i) for i in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**n)


def two_shares_difference(right: int, n: int, other_right: int, other_n: int) -> tuple[float, float, float]:
    """The difference of two shares of different problems, with its 95 % interval: (difference, low, high).

    Newcombe's hybrid of two Wilson intervals (1998, Statistics in Medicine 17:873, method 10).

    Raises:
        ValueError: see `wilson_interval`.
    """
    (low, high), (other_low, other_high) = wilson_interval(right, n), wilson_interval(other_right, other_n)
    share, other = right / n, other_right / other_n
    below = math.sqrt((share - low) ** 2 + (other_high - other) ** 2)
    above = math.sqrt((high - share) ** 2 + (other - other_low) ** 2)
    return share - other, share - other - below, share - other + above
