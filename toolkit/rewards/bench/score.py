"""`toolkit reward score`: one JSON line a row, or a table of the first rows and a summary.

A file is scored in batches, so that its length does not matter.

**Groups.** Neighbouring rows are one group when their `group` (and `step`) are equal, as in a run's completions, or
else when their `prompt` is. A group is never split, since some rewards compare its completions.

**None.** A score that cannot be given is null, never 0, and then so is the total: a sum of fewer parts does not compare
with the others. `toolkit.rewards.Composition` is the sum that has a rule for that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from rich.console import Group, RenderableType
from rich.text import Text

from toolkit.data.columns import GOLDS, QUESTIONS, named
from toolkit.data.rows import Numbered, place, read
from toolkit.data.schema import Row
from toolkit.data.table import N_PEEKED
from toolkit.display.tables import Table, number, rest, words
from toolkit.errors import DataError, RewardError, SettingsError, ToolkitError, did_you_mean
from toolkit.rewards.bench.calling import Sample, Scores, arguments, call
from toolkit.rewards.bench.subject import GOLD, QUESTION, renamed
from toolkit.rewards.completions import one_line, text_of
from toolkit.rewards.target import Target
from toolkit.runs.groups import key_of
from toolkit.units import plural

N_SHOWN = 10
BATCH = 1024  # rows; more where a group is larger
OF_THE_FILE = ("completion", "group", "step", "scores", "rewards", "total", "row")
"""Keys of a row that are no dataset columns."""
Columns = tuple[str, str]
"""Those of the gold answer and the question in a file."""
AS_IN_TRAINING: Columns = (GOLD, QUESTION)


@dataclass(frozen=True)
class Scored:
    row: Row
    line: int
    """Where it stands in the file, from 1."""
    scores: dict[str, float | None]
    total: float | None


def score_file(
    path: Path, targets: Sequence[Target], weights: Sequence[float], columns: Columns = AS_IN_TRAINING
) -> Iterator[Scored]:
    """Every row of a file, in order; a DataError for a row, and a RewardError for a reward, that does not fit."""
    is_first = True
    for batch in batches(_checked(path, targets, columns)):
        rows = [row for _line, row in batch]
        if is_first:
            _need_answers(targets, rows[0])
            is_first = False
        given = {target.name: _scores(target, rows, f"from {place(path, batch[0][0])} on") for target in targets}
        for i, (line, row) in enumerate(batch):
            scores = {name: column[i] for name, column in given.items()}
            judged = [score for score in scores.values() if score is not None]
            is_whole = len(judged) == len(weights)
            total = sum(w * score for w, score in zip(weights, judged, strict=True)) if is_whole else None
            yield Scored(row, line, scores, total)


def _need_answers(targets: Sequence[Target], row: Row) -> None:
    """Stop where a server gives no answer at all, rather than write null for every row."""
    for target in targets:
        if target.declared is not None and (why := target.declared.unavailable(row)):
            raise RewardError(f"reward {target.name!r} gives no scores: {why}", "an answer", "start or fix its server")


def batches(rows: Iterator[Numbered], size: int = BATCH) -> Iterator[list[Numbered]]:
    """Lists of about `size` rows that split no group."""
    batch: list[Numbered] = []
    for line, row in rows:
        if batch and _divides(batch[-1][1], row, is_full=len(batch) >= size):
            yield batch
            batch = []
        batch.append((line, row))
    if batch:
        yield batch


def _divides(before: Row, row: Row, is_full: bool) -> bool:
    """Never inside a group; always between two of one prompt, since rewards tell groups apart by the prompt."""
    key = key_of(row)
    if key is not None and key == key_of(before):
        return False
    return is_full or ("group" in row and row.get("prompt") is not None and row["prompt"] == before.get("prompt"))


def _checked(path: Path, targets: Sequence[Target], columns: Columns) -> Iterator[Numbered]:
    needed = list(dict.fromkeys(column for target in targets for column in target.columns))
    if any("prompts" in (target.takes if target.declared is None else target.declared.columns) for target in targets):
        needed.append("prompt")
    numbered = read(path)
    head = list(islice(numbered, N_PEEKED))
    columns = _named_as_in_training([row for _, row in head], columns)
    for line, read_row in chain(head, numbered):
        row = renamed(read_row, *columns)
        for column in ("completion", *needed):
            if column not in row:
                hint = did_you_mean(column, row) or f"it beside {', '.join(row) or 'none'}"
                raise DataError(f"{place(path, line)} has no {column!r}", hint)
        text = row["completion"]
        is_messages = isinstance(text, list) and all(isinstance(message, dict) for message in text)
        if not isinstance(text, str) and not is_messages:
            found = f"{place(path, line)}: completion is {type(text).__name__}"
            raise DataError(found, "text, or a list of messages")
        yield line, row


def _named_as_in_training(head: Sequence[Row], columns: Columns) -> Columns:
    """The columns, each of its usual names where it has none of its own and only one of those is there."""
    names = list(dict.fromkeys(name for row in head for name in row))
    found = []
    for asked, default, aliases in zip(columns, AS_IN_TRAINING, (GOLDS, QUESTIONS), strict=True):
        others = [name for name in named(aliases, names, head) if name != "prompt"]
        found.append(others[0] if asked == default not in names and len(others) == 1 else asked)
    return found[0], found[1]


def _scores(target: Target, rows: Sequence[Row], where: str) -> Scores:
    names = dict.fromkeys(name for row in rows for name in row if name not in OF_THE_FILE)
    given: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names if name != "prompt"}
    given["completions"] = [row["completion"] for row in rows]
    if all(row.get("prompt") is not None for row in rows):
        given["prompts"] = [row["prompt"] for row in rows]
    if target.declared is None:  # ours do without; a plain function may name what TRL would pass
        of_trl = arguments([Sample({"prompt": None}, text_of(row["completion"])) for row in rows])
        missing = target.takes & {"completion_ids", "trainer_state", "log_extra", "log_metric"} - given.keys()
        given |= {name: of_trl[name] for name in missing}
    outcome = call(target.function, given)
    if isinstance(outcome.exception, ToolkitError):
        raise outcome.exception  # the library says it best
    if outcome.fault:
        next_step = f"toolkit reward check {target.name} says more"
        raise RewardError(f"{where}: reward {target.name!r} {outcome.fault}", "one score a completion", next_step)
    return outcome.scores


def weights_of(given: Sequence[float], targets: Sequence[Target]) -> list[float]:
    """One finite weight a reward, or a SettingsError; 1 each where none is given."""
    if given and len(given) != len(targets):
        raise SettingsError(f"{len(given)} --reward_weights for {len(targets)} rewards", "one for each, in their order")
    if any(not math.isfinite(weight) for weight in given):
        raise SettingsError(f"--reward_weights {' '.join(map(str, given))}", "finite numbers")
    return list(given) or [1.0] * len(targets)


@dataclass
class Tally:
    n: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    unjudged: list[int] = field(default_factory=list)
    """Lines of the rows without a score."""

    def add(self, score: float | None, line: int) -> None:
        if score is None:
            self.unjudged.append(line)
            return
        self.n, self.total = self.n + 1, self.total + score
        self.low, self.high = min(self.low, score), max(self.high, score)


def write_json(
    path: Path, targets: Sequence[Target], weights: Sequence[float], out: TextIO, columns: Columns = AS_IN_TRAINING
) -> None:
    for i, scored in enumerate(score_file(path, targets, weights_of(weights, targets), columns)):
        line = {"row": i, "scores": scored.scores, "total": scored.total}
        out.write(json.dumps(line, ensure_ascii=False) + "\n")


def report(
    path: Path, targets: Sequence[Target], weights: Sequence[float], columns: Columns = AS_IN_TRAINING
) -> RenderableType:
    """The first rows with their scores, and a summary of all."""
    chosen = weights_of(weights, targets)
    names = [target.name for target in targets]
    tallies = {name: Tally() for name in (names if len(names) == 1 else [*names, "total"])}
    first: list[Scored] = []
    n_rows = 0
    for scored in score_file(path, targets, chosen, columns):
        n_rows += 1
        if len(first) < N_SHOWN:
            first.append(scored)
        for name, score in {**scored.scores, "total": scored.total}.items():
            if name in tallies:
                tallies[name].add(score, scored.line)
    n_more = n_rows - len(first)
    more = [Text(f"and {plural(n_more, 'row')} more; --json gives every one", "dim")] if n_more else []
    return Group(_rows(first, list(tallies)), *more, Text(), _summary(tallies), *_notes(tallies, targets, chosen))


def _rows(first: Sequence[Scored], names: Sequence[str]) -> RenderableType:
    table = Table([number("row"), *(number(_heading(name)) for name in names), rest("completion")])
    for i, scored in enumerate(first):
        scores = {**scored.scores, "total": scored.total}
        text = Text(one_line(text_of(scored.row["completion"])), "dim")
        table.add(str(i), *(shown(scores[name]) for name in names), text)
    return table.rich()


def _heading(name: str) -> str:
    """The end of a reward's name, which the summary has in full: `mine` for `folder/my_rewards.py:mine`."""
    return one_line(name.rpartition(":")[2].rpartition("/")[2], 20)


def _summary(tallies: dict[str, Tally]) -> RenderableType:
    table = Table([words("reward"), *map(number, ("mean", "lowest", "highest", "scored", "null"))])
    for name, tally in tallies.items():
        mean = shown(tally.total / tally.n if tally.n else None)
        ends = (shown(tally.low), shown(tally.high)) if tally.n else ("-", "-")
        table.add(Text(name, "bold"), mean, *ends, f"{tally.n:,}", f"{len(tally.unjudged):,}")
    return table.rich()


def _notes(tallies: dict[str, Tally], targets: Sequence[Target], weights: Sequence[float]) -> Iterator[Text]:
    if len(targets) > 1:
        parts = [f"{weight:g} x {target.name}" for weight, target in zip(weights, targets, strict=True)]
        yield Text(f"total: {' + '.join(parts)}, null where one of them is", "dim")
    for name, tally in tallies.items():
        if tally.unjudged and name != "total":
            n = len(tally.unjudged)
            lines = ", ".join(map(str, tally.unjudged[:3])) + (", ..." if n > 3 else "")
            yield Text(f"{name} cannot judge {plural(n, 'row')}: {'line' if n == 1 else 'lines'} {lines}", "yellow")


def shown(score: float | None) -> str:
    """A score as a table shows it."""
    return "null" if score is None else f"{score:.3f}".rstrip("0").rstrip(".")
