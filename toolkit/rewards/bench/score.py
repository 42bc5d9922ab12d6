"""`toolkit reward score`: one JSON line a row, or a table of the first rows and a summary."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.display.tables import Table, number, rest, words
from toolkit.errors import SettingsError
from toolkit.rewards.bench.scoring import Scored, score_file
from toolkit.rewards.bench.target import Target
from toolkit.rewards.completions import one_line, text_of
from toolkit.units import plural

N_SHOWN = 10


def weights_of(given: Sequence[float], targets: Sequence[Target]) -> list[float]:
    """One weight a reward, 1 where none is given.

    Raises:
        SettingsError: another number of weights than of rewards, or one that is not finite.
    """
    if given and len(given) != len(targets):
        raise SettingsError(f"{len(given)} --reward_weights for {len(targets)} rewards", "one for each, in their order")
    if any(not math.isfinite(weight) for weight in given):
        raise SettingsError(f"--reward_weights {' '.join(map(str, given))}", "finite numbers")
    return list(given) or [1.0] * len(targets)


@dataclass
class Tally:
    """One reward over all rows."""

    n: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    unjudged: list[int] = field(default_factory=list)
    """Lines of the first rows without a score."""
    n_unjudged: int = 0

    def add(self, score: float | None, line: int) -> None:
        if score is None:
            self.n_unjudged += 1
            if len(self.unjudged) < 3:
                self.unjudged.append(line)
            return
        self.n, self.total = self.n + 1, self.total + score
        self.low, self.high = min(self.low, score), max(self.high, score)


def write_json(path: Path, targets: Sequence[Target], weights: Sequence[float], out: TextIO) -> None:
    """Write one line a row to `out`."""
    for i, scored in enumerate(score_file(path, targets, weights_of(weights, targets))):
        out.write(json.dumps(scored.as_json(i), ensure_ascii=False) + "\n")


def report(path: Path, targets: Sequence[Target], weights: Sequence[float]) -> RenderableType:
    """The first rows with their scores, and a summary of all."""
    chosen = weights_of(weights, targets)
    names = [target.name for target in targets]
    tallies = {name: Tally() for name in (names if len(names) == 1 else [*names, "total"])}
    first: list[Scored] = []
    n_rows = 0
    for scored in score_file(path, targets, chosen):
        n_rows += 1
        if len(first) < N_SHOWN:
            first.append(scored)
        for name, score in {**scored.scores, "total": scored.total}.items():
            if name in tallies:
                tallies[name].add(score, scored.line)
    parts: list[RenderableType] = [_rows(first, list(tallies)).rich()]
    if n_rows > len(first):
        parts.append(Text(f"and {plural(n_rows - len(first), 'row')} more; --json gives every one", "dim"))
    return Group(*parts, Text(), _summary(tallies).rich(), *_notes(tallies, targets, chosen))


def _rows(first: Sequence[Scored], names: Sequence[str]) -> Table:
    table = Table([number("row"), *(number(_heading(name)) for name in names), rest("completion")])
    for i, scored in enumerate(first):
        scores = {**scored.scores, "total": scored.total}
        text = Text(one_line(text_of(scored.row["completion"])), "dim")
        table.add(str(i), *(shown(scores[name]) for name in names), text)
    return table


def _heading(name: str) -> str:
    """The end of a reward's name, which the summary has in full: `mine` for `folder/my_rewards.py:mine`."""
    return one_line(name.rpartition(":")[2].rpartition("/")[2], 20)


def _summary(tallies: dict[str, Tally]) -> Table:
    table = Table([words("reward"), *map(number, ("mean", "lowest", "highest", "scored", "null"))])
    for name, tally in tallies.items():
        mean = shown(tally.total / tally.n if tally.n else None)
        ends = (shown(tally.low), shown(tally.high)) if tally.n else ("-", "-")
        table.add(Text(name, "bold"), mean, *ends, f"{tally.n:,}", f"{tally.n_unjudged:,}")
    return table


def _notes(tallies: dict[str, Tally], targets: Sequence[Target], weights: Sequence[float]) -> Iterator[Text]:
    if len(targets) > 1:
        parts = [f"{weight:g} x {target.name}" for weight, target in zip(weights, targets, strict=True)]
        yield Text(f"total: {' + '.join(parts)}, null where one of them is", "dim")
    for name, tally in tallies.items():
        if tally.unjudged and name != "total":
            lines = ", ".join(map(str, tally.unjudged)) + (", ..." if tally.n_unjudged > len(tally.unjudged) else "")
            where = "line" if tally.n_unjudged == 1 else "lines"
            yield Text(f"{name} cannot judge {plural(tally.n_unjudged, 'row')}: {where} {lines}", "yellow")


def shown(score: float | None) -> str:
    """A score as a table shows it."""
    return "null" if score is None else f"{score:.3f}".rstrip("0").rstrip(".")
