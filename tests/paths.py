"""Where the checkout and what tests read of it are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "recipes" / "configs"
GOLDEN = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared"
"""May be absent: a test that reads it is skipped then."""
