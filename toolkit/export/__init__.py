"""Save and upload what was trained."""

from __future__ import annotations

from toolkit.export.save import MERGED, check_push, check_room_for_base, push, save

__all__ = ["MERGED", "check_push", "check_room_for_base", "push", "save"]
