"""recipes/OWN_TASK.md as a newcomer follows it: its commands run in order, and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.recipes.harness import ROOT
from tests.recipes.pages import follow

PAGE = (ROOT / "recipes" / "OWN_TASK.md").read_text()


def test_every_block_runs_and_prints_what_the_page_says(tmp_path: Path) -> None:
    assert set(re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)) == {"bash", "text"}
    assert follow(PAGE, tmp_path) == 6
