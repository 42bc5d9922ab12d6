"""A recipe whose standby fails begins again without it: real processes, the failure pretended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

RECIPE = """
import os, sys
from pathlib import Path
from toolkit.errors import SettingsError, StandbyError
from toolkit.launch import run_recipe
from toolkit.settings import GrpoSettings

def main(settings, session):
    print("pid", os.getpid(), "standby", settings.model.standby, "seed", settings.record.seed, sys.argv[1:])
    with session.open_run() as run:
        if {n_steps}:
            run.append_metrics({{"step": 1}})
        if settings.model.standby or {always}:
            raise SettingsError("TRL refuses the settings") from StandbyError("vLLM could not wake up (no memory)")
    print("ran in", run.folder.name)

run_recipe(main, GrpoSettings, {root!r} + "/recipes/gsm8k_r1.py")
"""


def run(folder: Path, *flags: str, n_steps: int = 0, always: bool = False) -> subprocess.CompletedProcess[str]:
    recipe = folder / "recipe.py"
    recipe.write_text(RECIPE.format(n_steps=n_steps, always=always, root=str(ROOT)))
    command = [sys.executable, str(recipe), "--output_dir", str(folder / "run"), "--seed", "7", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize("flags", [(), ("--standby", "true")], ids=["by default", "asked for"])
def test_it_goes_on_without_standby_under_the_same_flags(flags: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    first, second = (line.split() for line in lines if line.startswith("pid"))
    assert first[1] == second[1], "the same process"
    assert (first[3], second[3]) == ("True", "False")
    assert second[5] == "7"
    assert lines.count("vLLM could not wake up (no memory); beginning again with --standby false") == 1
    assert lines[-1] == "ran in run"
    assert not any(line.startswith("environment:") for line in lines), "the second finds what the first found"


def test_it_begins_again_once(tmp_path: Path) -> None:
    done = run(tmp_path, always=True)
    assert done.returncode == 2
    assert done.stdout.count("beginning again") == 1
    assert done.stderr.splitlines() == ["TRL refuses the settings."]


def test_steps_that_are_done_are_kept_and_continued_by_hand(tmp_path: Path) -> None:
    done = run(tmp_path, n_steps=1)
    assert done.returncode == 2
    assert "beginning again" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("vLLM could not wake up (no memory); continue with: python ")
    assert line.endswith("--resume run --standby false.")
    assert (tmp_path / "run" / "metrics.jsonl").exists()
