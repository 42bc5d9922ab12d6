"""What a run goes by: its settings, where they come from, and the batch that they make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from toolkit.settings.batch import Batch, solve
from toolkit.settings.groups import GrpoSettings

S = TypeVar("S", bound=GrpoSettings)


@dataclass(frozen=True)
class Resolved(Generic[S]):
    """Made once, before anything loads, and handed down; whoever changes a setting makes another."""

    settings: S
    given: frozenset[str]
    """Names that a person set: by a flag, in a file of their own, or so in the run that is continued."""
    batch: Batch
    why: str
    """Which preset was taken, and why."""

    @classmethod
    def of(cls, settings: S, given: frozenset[str] = frozenset(), why: str = "", n_processes: int = 1) -> Resolved[S]:
        """Solve the batch of these settings; a SettingsError where it makes no whole groups."""
        return cls(settings, given, solve(settings.rollout, n_processes), why)

    def with_model(self, **changes: Any) -> Resolved[S]:
        """The same with other model settings, which do not change the batch."""
        model = replace(self.settings.model, **changes)
        return replace(self, settings=replace(self.settings, model=model))
