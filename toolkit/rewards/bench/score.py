"""`toolkit reward score`: one JSON line a row, or a table of the first rows and a summary."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolkit.errors import SettingsError
from toolkit.rewards.bench.scoring import Scored, score_file
from toolkit.rewards.bench.target import Target
from toolkit.rewards.completions import one_line, text_of

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
    for number, scored in enumerate(score_file(path, targets, weights_of(weights, targets))):
        out.write(json.dumps(scored.as_json(number), ensure_ascii=False) + "\n")


def report(path: Path, targets: Sequence[Target], weights: Sequence[float]) -> RenderableType:
    """The first rows with their scores, and a summary of all."""
    chosen = weights_of(weights, targets)
    tallies = {name: Tally() for name in (*(target.name for target in targets), *(["total"] * (len(targets) > 1)))}
    first: list[Scored] = []
    n_rows = 0
    for scored in score_file(path, targets, chosen):
        n_rows += 1
        if len(first) < N_SHOWN:
            first.append(scored)
        for name, score in {**scored.scores, "total": scored.total}.items():
            if name in tallies:
                tallies[name].add(score, scored.line)
    left_out = Text(f"and {n_rows - len(first):,} rows more; --json gives every one", "dim")
    shown = [_rows(first, list(tallies)), *([left_out] if n_rows > len(first) else []), Text(), _summary(tallies)]
    return Group(*shown, *_notes(tallies, targets, chosen))


def _rows(first: Sequence[Scored], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("row", justify="right", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", overflow="fold", min_width=5, max_width=16)
    table.add_column("completion", no_wrap=True, overflow="ellipsis", ratio=1, min_width=20)
    for number, scored in enumerate(first):
        scores = {**scored.scores, "total": scored.total}
        text = Text(one_line(text_of(scored.row["completion"])), "dim")
        table.add_row(str(number), *(shown(scores[name]) for name in names), text)
    return table


def _summary(tallies: dict[str, Tally]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("reward", overflow="fold")
    for name in ("mean", "lowest", "highest", "scored", "null"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, tally in tallies.items():
        mean = shown(tally.total / tally.n if tally.n else None)
        ends = (shown(tally.low), shown(tally.high)) if tally.n else ("-", "-")
        table.add_row(Text(name, "bold"), mean, *ends, f"{tally.n:,}", f"{tally.n_unjudged:,}")
    return table


def _notes(tallies: dict[str, Tally], targets: Sequence[Target], weights: Sequence[float]) -> Iterator[Text]:
    if len(targets) > 1:
        parts = [f"{weight:g} x {target.name}" for weight, target in zip(weights, targets, strict=True)]
        yield Text(f"total: {' + '.join(parts)}, null where one of them is", "dim")
    for name, tally in tallies.items():
        if tally.unjudged and name != "total":
            lines = ", ".join(map(str, tally.unjudged)) + (", ..." if tally.n_unjudged > len(tally.unjudged) else "")
            plural = "s" * (tally.n_unjudged > 1)
            yield Text(f"{name} cannot judge {tally.n_unjudged:,} row{plural}: line{plural} {lines}", "yellow")


def shown(score: float | None) -> str:
    """A score as a table shows it."""
    return "null" if score is None else f"{score:.3f}".rstrip("0").rstrip(".")
