"""Models: by name, folder or Hub id."""

from __future__ import annotations

from toolkit.models.locate import locate

__all__ = ["locate"]
