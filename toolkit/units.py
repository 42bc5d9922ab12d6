"""Bytes, seconds, counts and shares as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

GIB = 1024**3


def gib(n_bytes: float) -> float:
    """Bytes to GiB (2**30 bytes, the unit that CUDA tools call GB)."""
    return n_bytes / GIB


def format_gib(value_gib: float) -> str:
    """`0.35 GiB`, `14.2 GiB`, `141 GiB`: three significant figures."""
    digits = 2 if value_gib < 10 else 1 if value_gib < 100 else 0
    return f"{value_gib:.{digits}f} GiB"


def format_seconds(seconds: float) -> str:
    """`0.8s`, `42s`, `3m 05s`, `2h 07m`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def format_count(n: float) -> str:
    """`950`, `12.3k`, `3.09M`, `7.62B`: parameters and tokens."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            value = n / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{suffix}"
    return f"{n:.0f}"


def format_frac(frac: float) -> str:
    """A share between 0 and 1 as `0%`, `3.1%`, `97%`."""
    percent = 100 * frac
    return f"{percent:.1f}%" if 0 < percent < 10 else f"{percent:.0f}%"


def rounded(value: float) -> float | None:
    """Four significant digits, more than a clock repeats; None for what is no number."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def plural(n: int, noun: str) -> str:
    """`1 step`, `2 steps`, `1,200 steps`; for a noun that takes an s."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def and_more(shown: Sequence[str], n_more: int) -> str:
    """`a, b` or `a, b and 3 more`: the first of a list that is too long."""
    return ", ".join(shown) + (f" and {n_more} more" if n_more > 0 else "")
