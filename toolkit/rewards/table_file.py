"""Checks the tables of a YAML file strictly: every error is one line that names the file and the place in it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn

from toolkit.errors import RewardError, did_you_mean
from toolkit.rewards.completions import one_line


@dataclass(frozen=True)
class Reader:
    """Checks a file's values one by one. Subclasses turn its tables into what they mean."""

    source: str
    """How errors name the file."""

    def keys(self, table: Any, where: str, known: Collection[str], needed: Collection[str] = ()) -> dict[str, Any]:
        """The table, if it has all keys that are needed and none that is unknown; `where` empty: the file itself."""
        place = where or "the file"
        if not isinstance(table, dict):
            self.fail(f"{place} is {one_line(repr(table), 40)}", f"the keys {', '.join(sorted(known))}")
        for key in table:
            if key not in known:
                hint = did_you_mean(str(key), known) or f"one of {', '.join(sorted(known))}"
                self.fail(f"{place} has an unknown key {one_line(repr(key), 40)}", hint)
        for key in needed:
            if key not in table:
                self.fail(f"{place} has no {key!r}", f"the key {key!r}")
        return table

    def text(self, value: Any, where: str) -> str:
        """Text that is not blank."""
        if not isinstance(value, str) or not value.strip():
            self.fail(f"{where} is {one_line(repr(value), 40)}", "text")
        return value

    def fail(self, found: str, wanted: str) -> NoReturn:
        """Raise the RewardError."""
        raise RewardError(f"{self.source}: {found}", wanted)
