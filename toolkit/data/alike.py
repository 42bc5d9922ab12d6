"""Which training rows ask what a held-out row asks, in other words: what is measured is then no longer unseen.

Two rows are alike when their worked solutions write the same two or more equations in the same order, as stories of one
problem do, or when their questions have the same numbers in the same order and nearly the same words. Words that many
questions share, such as those of a template, tell nothing apart, so that the rarer ones must agree as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from toolkit.data.schema import WORKED_SOLUTION, Row
from toolkit.rewards import equations
from toolkit.units import plural

NEARLY = 0.8
"""Jaccard's index of two sets of words from which on they are nearly the same."""
COMMON_FRAC = 0.05
"""Share of the questions from which on a word is common."""
MIN_EQUATIONS = 2
"""One equation alone is shared by problems that have nothing else in common."""
MAX_DROPPED_FRAC = 0.5
_WORD = re.compile(r"[^\W\d_]+|[-+*/^=<>]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

Equations = tuple[equations.Equation, ...]


def without_alike(train: Sequence[Row], held_out: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The training rows that are like no held-out row, and a line on the others.

    Where those are more than half, the data repeats itself throughout: all are kept, and the line says so.
    """
    solved = {one for row in held_out if (one := solution_of(row))}
    common = _common_words([*train, *held_out])
    by_numbers: dict[tuple[str, ...], list[tuple[frozenset[str], frozenset[str]]]] = {}
    for row in held_out:
        by_numbers.setdefault(_numbers(row), []).append(_words(row, common))
    kept = []
    for row in train:
        if solved and solution_of(row) in solved:
            continue
        rivals = by_numbers.get(_numbers(row), [])
        own = _words(row, common) if rivals else None
        if own is None or not any(_alike(own, other) for other in rivals):
            kept.append(row)
    n = len(train) - len(kept)
    if not n:
        return kept, []
    if n > MAX_DROPPED_FRAC * len(train):
        line = f"{n:,} of {len(train):,} training rows ask nearly what a held-out row asks: the data repeats itself"
        return list(train), [f"{line}, so figures are of problems like those trained on"]
    return kept, [f"{plural(n, 'row')} dropped: alike with a held-out row (its equations, or its numbers and words)"]


def solution_of(row: Row) -> Equations:
    """The equations of a worked solution; empty where there are too few to tell it from others."""
    found = tuple(equations.find(row.get(WORKED_SOLUTION) or ""))
    return found if len(found) >= MIN_EQUATIONS else ()


def _alike(own: tuple[frozenset[str], frozenset[str]], other: tuple[frozenset[str], frozenset[str]]) -> bool:
    return all(_overlap(a, b) >= NEARLY for a, b in zip(own, other, strict=True))


def _overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard's index; 1 for two empty sets."""
    either = len(a | b)
    return len(a & b) / either if either else 1.0


def _words(row: Row, common: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """All words of a question, and those that are not common."""
    every = frozenset(_WORD.findall(row["question"].casefold()))
    return every, every - common


def _numbers(row: Row) -> tuple[str, ...]:
    return tuple(_NUMBER.findall(row["question"]))


def _common_words(rows: Sequence[Row]) -> frozenset[str]:
    counts = Counter(word for row in rows for word in set(_WORD.findall(row["question"].casefold())))
    return frozenset(word for word, n in counts.items() if n > max(2, COMMON_FRAC * len(rows)))
