"""The `toolkit` command: one module a verb."""

from __future__ import annotations

from toolkit.cli.dispatch import main

__all__ = ["main"]
