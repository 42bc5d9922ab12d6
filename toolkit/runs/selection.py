"""Which of a run's completions are wanted: by step, by reward, by text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.errors import RunFolderError, SettingsError, did_you_mean
from toolkit.runs.completions import Row, files_of, step_of
from toolkit.runs.names import AFTER, BEFORE
from toolkit.runs.record import Record

TRAINING = "training"
_STEPS = re.compile(r"(\d*)(:?)(\d*)")


@dataclass(frozen=True)
class Selection:
    """What is asked for; without anything all completions of training."""

    step: str = TRAINING
    """`12`, `10:20` with both ends, `:20`, `10:`, `training` for all, `before` or `after`."""
    reward: str = ""
    """The reward function that the bounds are about; without it the total."""
    min_reward: float | None = None
    max_reward: float | None = None
    text: str = ""
    """What the completion or its prompt contains, in any case of letters."""

    def names(self, known: list[str]) -> list[str]:
        """The files among `known` that may hold what is wanted.

        Raises:
            SettingsError: no step can be read in `step`, or the run has none of those.
        """
        found = [name for name in known if self._takes(name)]
        if not found:
            steps = [step for name in known if (step := step_of(name)) is not None]
            measured = [name for name in known if name in (BEFORE, AFTER)]
            there = [*([f"steps {steps[0]} to {steps[-1]}"] if steps else []), *measured]
            raise SettingsError(
                f"--step {self.step}: the run has no such completions", ", ".join(there) or "a run that has"
            )
        return found

    def _takes(self, name: str) -> bool:
        step = step_of(name)
        if self.step in (BEFORE, AFTER):
            return name == self.step
        if self.step == TRAINING:
            return step is not None
        parts = _STEPS.fullmatch(self.step)
        if parts is None or parts[0] in ("", ":"):
            wanted = f"a step, two as 10:20, {TRAINING}, {BEFORE} or {AFTER}"
            raise SettingsError(
                f"--step {self.step!r} is no step", did_you_mean(self.step, (TRAINING, BEFORE, AFTER)) or wanted
            )
        first, is_range, last = parts.groups()
        if not is_range:
            return step == int(first)
        return step is not None and int(first or 0) <= step <= int(last or step)

    def takes(self, row: Row) -> bool:
        """Whether a row is wanted. One that the reward could not judge lies between no bounds."""
        if self.min_reward is not None or self.max_reward is not None:
            value = (row.get("rewards") or {}).get(self.reward) if self.reward else total(row)
            if value is None or not _between(self.min_reward, value, self.max_reward):
                return False
        wanted = self.text.lower()
        return not wanted or any(wanted in str(row.get(name) or "").lower() for name in ("completion", "prompt"))


def total(row: Row) -> float | None:
    """What a completion earned: its reward, or of a measurement its score; older versions kept parts alone."""
    return next((row[name] for name in ("reward", "score") if row.get(name) is not None), None)


def _between(low: float | None, value: float, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def select(record: Record, wanted: Selection) -> Iterator[tuple[str, Row | str]]:
    """(name of the file, row) of each completion that is wanted, in order; a sentence in place of the row for a fault.

    Raises:
        RunFolderError: the folder has no completions.
        SettingsError: none of the steps, or a reward that no completion was scored by.
    """
    names = list(files_of(record.folder))
    if not names:
        raise RunFolderError(f"{record.folder} has no completions", "the folder of a run that sampled some")
    seen: set[str] = set()
    for name in wanted.names(names):
        rows, warning = record.completions(name)
        for row in rows:
            seen |= (row.get("rewards") or {}).keys()
            if wanted.takes(row):
                yield name, row
        if warning:
            yield name, warning
    if wanted.reward and seen and wanted.reward not in seen:
        known = f"one of {', '.join(sorted(seen))}"
        raise SettingsError(
            f"--reward {wanted.reward}: no completion was scored by it", did_you_mean(wanted.reward, seen) or known
        )
