"""A search for the fastest settings, as a process that is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.test_sweep import wait_for
from tests.unit.bench.test_spec import written
from toolkit.bench import store


def test_a_search_that_was_killed_goes_on_with_its_trials(tmp_path: Path) -> None:
    grid = {"step_s": [0.5, 0.25, 0.4], "num_generations": [2, 4, 8]}
    path = written(tmp_path, grid=grid, settings={"model": "embedded", "sleep_s": 0.1})
    results = tmp_path / "results"
    command = [sys.executable, "-m", "toolkit", "bench", "tune", str(path), "--output", str(results), "--trials", "6"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(store.read(results)) > 1)
    process.kill()
    process.wait()
    before = [record["id"] for record in store.read(results)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    kept = [record["id"] for record in store.read(results)]
    assert kept[: len(before)] == before
    assert len(set(kept)) == len(kept) == 6
    assert [trial["cell"] for trial in found["trials"]] == kept, "the same trials in the same order"
    assert (found["best"]["changed"]["step_s"], found["times_as_fast"]) == (0.25, 2.0)
    assert (results / "preset.yaml").exists()
