"""recipes/OWN_TASK.md as a newcomer follows it: its commands run in order, and print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.recipes.harness import ROOT, environment

PAGE = (ROOT / "recipes" / "OWN_TASK.md").read_text()


def folded(line: str) -> str:
    """A line without what differs from machine to machine: numbers, and how many blanks a table has."""
    return re.sub(r"\d+(\.\d+)?", "0", " ".join(line.split()))


def test_every_block_runs_and_prints_what_the_page_says(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks].count("bash") == 6
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, started in (("toolkit", '"$PYTHON" -m toolkit "$@"'), ("python", '"$PYTHON" "$@"')):
        (commands / name).write_text(f"#!/bin/sh\nexec {started}\n")
        (commands / name).chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    env = environment(PYTHONPATH=str(ROOT), PYTHON=sys.executable, PATH=path, HF_HUB_OFFLINE="1")
    printed: list[str] = []
    for kind, block in blocks:
        if kind == "bash":
            done = subprocess.run(
                ["bash", "-e", "-c", block], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            printed = list(map(folded, (done.stdout + done.stderr).splitlines()))
            continue
        assert kind == "text"
        for line in map(folded, block.splitlines()):
            begins = line.removesuffix(" ...")
            assert any(said.startswith(begins) if begins != line else said == line for said in printed), line
