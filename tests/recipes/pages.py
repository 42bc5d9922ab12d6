"""A page of recipes/ as a newcomer follows it: its commands in order, and what it says that they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.recipes.harness import ROOT, environment


def folded(line: str) -> str:
    """A line without what differs from machine to machine: numbers, and how many blanks a table has."""
    return re.sub(r"\d+(\.\d+)?", "0", " ".join(line.split()))


def follow(page: str, folder: Path) -> int:
    """Run the bash blocks in `folder` and hold each text block against what the one before it printed; how many ran.

    A line of a text block that ends in `...` is the beginning of what was printed.
    """
    (folder / "recipes").symlink_to(ROOT / "recipes")
    commands = folder / "bin"
    commands.mkdir()
    for name, started in (("toolkit", '"$PYTHON" -m toolkit "$@"'), ("python", '"$PYTHON" "$@"')):
        (commands / name).write_text(f"#!/bin/sh\nexec {started}\n")
        (commands / name).chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    env = environment(PYTHONPATH=str(ROOT), PYTHON=sys.executable, PATH=path, HF_HUB_OFFLINE="1")
    printed: list[str] = []
    n_ran = 0
    for kind, block in re.findall(r"^```(bash|text)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if kind == "bash":
            done = subprocess.run(
                ["bash", "-e", "-c", block], cwd=folder, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            printed = list(map(folded, (done.stdout + done.stderr).splitlines()))
            n_ran += 1
            continue
        for line in map(folded, block.splitlines()):
            begins = line.removesuffix(" ...")
            assert any(said.startswith(begins) if begins != line else said == line for said in printed), line
    return n_ran
