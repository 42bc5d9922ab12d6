"""A sweep runs its cells in processes of their own: each ends in a record, and nothing is lost or done twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bench.test_spec import written
from toolkit.bench import store, sweep
from toolkit.bench.spec import load
from toolkit.errors import RunFolderError

COMMAND = [sys.executable, "-m", "toolkit", "bench", "run"]


def swept(tmp_path: Path, **parts: Any) -> list[dict[str, Any]]:
    spec, cells = load(written(tmp_path, warmup_steps=1, **parts))
    return sweep.run(spec, cells, tmp_path / "results", lambda line: None)


def wait_for(seen: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not seen() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_however_a_cell_ends_it_is_a_record_and_the_sweep_goes_on(tmp_path: Path) -> None:
    endings = ["refused", "out_of_memory", "killed", "hangs", "well"]
    records = swept(tmp_path, grid={"ending": endings}, limit_s=8)
    assert [(record["status"], record["why"]) for record in records] == [
        ("refused", "--num_generations is 3; wanted something else."),
        ("out_of_memory", "out of GPU memory while training."),
        ("failed", "ended with signal 9, as when host memory runs out and left no result"),
        ("timed_out", "stopped after 8 s"),
        ("ok", ""),
    ]
    assert records == store.read(tmp_path / "results")


def test_the_warm_up_is_not_counted(tmp_path: Path) -> None:
    (record,) = swept(tmp_path, grid={})
    found = record["measured"]
    assert (found["step_s"], found["n_steps"]) == ([0.5, 0.5], 2)
    assert (found["tokens_per_s"], found["update_tokens_per_s"]) == (200.0, 400.0)
    assert (found["peak_gib"]["process"], found["n_tokens"], found["pass_at_1"]) == (2.0, 300, 0.5)
    left = sorted(path.name for path in (tmp_path / "results" / "cells" / record["id"] / "run").iterdir())
    assert left == ["metrics.jsonl", "summary.json"]


def test_a_sweep_killed_at_any_moment_goes_on_and_loses_nothing(tmp_path: Path) -> None:
    path = written(
        tmp_path, grid={"num_generations": [2, 4, 8], "ending": ["well", "refused"]}, settings={"sleep_s": 0.2}
    )
    command = [*COMMAND, str(path), "--output", str(tmp_path / "results")]
    draw, cells = random.Random(0), tmp_path / "results" / store.CELLS
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(cells.exists)
        time.sleep(draw.uniform(0.0, 4.0))
        process.kill()
        process.wait()
        with cells.open("a") as file:
            file.write('{"id": "half a li')  # what a kill may leave
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    records = json.loads(done.stdout)
    assert Counter(record["status"] for record in records) == {"ok": 3, "refused": 3}
    kept = [record["id"] for record in store.read(tmp_path / "results")]
    assert sorted(kept) == sorted({record["id"] for record in records})


def test_a_cell_ends_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    path = written(tmp_path, settings={"ending": "hangs"})
    process = subprocess.Popen([*COMMAND, str(path), "--output", str(tmp_path / "results")], stdout=subprocess.DEVNULL)
    wait_for(lambda: psutil.Process(process.pid).children())
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert children
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_two_sweeps_on_one_folder_are_refused(tmp_path: Path) -> None:
    with store.opened(tmp_path / "results"), pytest.raises(RunFolderError, match="another sweep is writing"):
        swept(tmp_path)


def test_a_sweep_of_the_recipe_measures_both_engines(tmp_path: Path) -> None:
    recipe = str(Path(__file__).parents[2] / "recipes" / "gsm8k_r1.py")
    settings = {"model": "embedded", "max_steps": 2, "n_eval": 2, "warmup_steps": 0, "max_completion_length": 8}
    records = swept(tmp_path, recipe=recipe, settings=settings, grid={"engine": ["toolkit", "trl"]})
    assert [record["status"] for record in records] == ["ok", "ok"], [record["why"] for record in records]
    ours, plain = (record["measured"] for record in records)
    assert ours["n_tokens"] == plain["n_tokens"] > 0, "the same model, rows and seed sample the same"
    assert ours["reward"] == plain["reward"]
    assert ours["phases"].keys() == {"rollout", "reward", "update"}
    assert plain["phases"] == {}
