"""Scores the completions of a file, in batches, so that its length does not matter.

**Groups.** Neighbouring rows are one group when their `group` (and `step`) are equal, as in a run's completions, or
else when their `prompt` is. A group is never split, since some rewards compare its completions.

**None.** A score that cannot be given is null, never 0, and then so is the total: a sum of fewer parts does not compare
with the others. `toolkit.rewards.Composition` is the sum that has a rule for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.data.rows import Numbered, place, read
from toolkit.data.schema import Row
from toolkit.errors import DataError, RewardError, ToolkitError, did_you_mean
from toolkit.rewards.bench.calling import Sample, Scores, arguments, call
from toolkit.rewards.bench.target import Target
from toolkit.rewards.completions import text_of
from toolkit.runs.groups import key_of

BATCH = 1024  # rows; more where a group is larger
OF_THE_FILE = ("completion", "group", "step", "scores", "rewards", "total", "row")
"""Keys of a row that are no dataset columns."""


@dataclass(frozen=True)
class Scored:
    """One row with its scores."""

    row: Row
    line: int
    """Where it stands in the file, from 1."""
    scores: dict[str, float | None]
    total: float | None

    def as_json(self, number: int) -> dict[str, Any]:
        """The line of `--json`: `row` counts from 0."""
        return {"row": number, "scores": self.scores, "total": self.total}


def score_file(path: Path, targets: Sequence[Target], weights: Sequence[float]) -> Iterator[Scored]:
    """Every row of a file, in order.

    Raises:
        DataError: what `rows.read` raises; a row without a completion or a column that a reward needs.
        RewardError: a reward raises, or returns something else than one score a completion.
    """
    for batch in batches(_checked(path, targets)):
        rows = [row for _line, row in batch]
        columns = {target.name: _scores(target, rows, f"from {place(path, batch[0][0])} on") for target in targets}
        for i, (line, row) in enumerate(batch):
            scores = {name: column[i] for name, column in columns.items()}
            yield Scored(row, line, scores, total(list(scores.values()), weights))


def total(scores: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """The weighted sum; None where one of the scores is."""
    judged = [score for score in scores if score is not None]
    if len(judged) < len(scores):
        return None
    return sum(weight * score for weight, score in zip(weights, judged, strict=True))


def batches(rows: Iterator[Numbered], size: int = BATCH) -> Iterator[list[Numbered]]:
    """Lists of about `size` rows that split no group."""
    batch: list[Numbered] = []
    for line, row in rows:
        if batch and _is_new_group(batch[-1][1], row) and (len(batch) >= size or _hides_new_group(batch[-1][1], row)):
            yield batch
            batch = []
        batch.append((line, row))
    if batch:
        yield batch


def _is_new_group(before: Row, row: Row) -> bool:
    key = key_of(row)
    return key is None or key != key_of(before)


def _hides_new_group(before: Row, row: Row) -> bool:
    """Two groups of one prompt, side by side: rewards tell groups apart by the prompt, so they go in two calls."""
    return "group" in row and row.get("prompt") is not None and row.get("prompt") == before.get("prompt")


def _checked(path: Path, targets: Sequence[Target]) -> Iterator[Numbered]:
    needed = list(dict.fromkeys(column for target in targets for column in target.columns))
    if any(target.needs_prompts for target in targets):
        needed.append("prompt")
    for line, row in read(path):
        for column in ("completion", *needed):
            if column not in row:
                hint = did_you_mean(column, row) or f"it beside {', '.join(row) or 'none'}"
                raise DataError(f"{place(path, line)} has no {column!r}", hint)
        completion = row["completion"]
        if not isinstance(completion, str) and not _is_messages(completion):
            found = f"{place(path, line)}: completion is {type(completion).__name__}"
            raise DataError(found, "text, or a list of messages")
        yield line, row


def _is_messages(completion: Any) -> bool:
    return isinstance(completion, list) and all(isinstance(message, dict) for message in completion)


def _scores(target: Target, rows: Sequence[Row], where: str) -> Scores:
    names = dict.fromkeys(name for row in rows for name in row if name not in OF_THE_FILE)
    given: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names if name != "prompt"}
    given["completions"] = [row["completion"] for row in rows]
    if all(row.get("prompt") is not None for row in rows):
        given["prompts"] = [row["prompt"] for row in rows]
    if target.declared is None:  # ours do without; a plain function may name what TRL would pass
        given |= {name: value for name, value in _of_trl(rows).items() if name in target.takes and name not in given}
    outcome = call(target.function, given)
    if isinstance(outcome.exception, ToolkitError):
        raise outcome.exception  # the library says it best
    if outcome.fault:
        next_step = f"toolkit reward check {target.name} says more"
        raise RewardError(f"{where}: reward {target.name!r} {outcome.fault}", "one score a completion", next_step)
    return outcome.scores


def _of_trl(rows: Sequence[Row]) -> dict[str, Any]:
    """What TRL passes beside the columns, with stand-ins for token ids."""
    given = arguments([Sample({"prompt": None}, text_of(row["completion"])) for row in rows])
    return {name: given[name] for name in ("completion_ids", "trainer_state", "log_extra", "log_metric")}
