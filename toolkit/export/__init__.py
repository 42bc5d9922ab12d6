"""Save and upload what was trained."""

from __future__ import annotations

from toolkit.export.save import check_push, push, save

__all__ = ["check_push", "push", "save"]
