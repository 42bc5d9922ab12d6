"""The run folder: what a run leaves behind, and how it is read."""

from __future__ import annotations

from toolkit.runs.folder import Run, create, follow, reopen

__all__ = ["Run", "create", "follow", "reopen"]
