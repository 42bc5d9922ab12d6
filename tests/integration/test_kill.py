"""SIGKILL at any moment of writing: whatever a run folder holds then can be read, and the run goes on from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit import runs
from toolkit.runs.completions import files_of, read_rows
from toolkit.runs.names import step_name
from toolkit.runs.record import read_record

# One process loads Arrow and forks the ones that are killed, so that a kill costs no start
NURSERY = """
import os, random, signal, sys, time
from pathlib import Path
import pandas, pyarrow.parquet
from toolkit import runs
from toolkit.files import replace_file
from toolkit.runs.names import REPORT, step_name

def write(folder, text):
    run = runs.create("recipe", folder, {"seed": 3, "text": text})
    rows = [{"completion": text, "rewards": {"correct": 1.0}, "reward": 1.0} for _ in range(50)]
    for step in range(1, 10_000):
        run.write_completions(step_name(step), rows)
        run.append_metrics({"step": step, "text": text})
        run.write("progress.json", {"step": step, "wall_s": 1.0})
        run.update("summary.json", text=text, steps=step)
        replace_file(run.folder / REPORT, f"<!doctype html>{text * 20}</html>".encode())
        if step % 7 == 0:
            run.rewind_to(step - 3)

draw = random.Random(int(sys.argv[3]))
for i in range(int(sys.argv[2])):
    text = "".join(draw.choices("abcdefghij", k=20_000))
    child = os.fork()
    if child == 0:
        write(Path(sys.argv[1]) / str(i), text)
        os._exit(0)
    time.sleep(draw.uniform(0.1, 0.8))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def killed(folder: Path, n: int, seed: int) -> list[Path]:
    subprocess.run([sys.executable, "-c", NURSERY, str(folder), str(n), str(seed)], check=True, timeout=300)
    return [path for path in folder.iterdir() if (path / "settings.json").exists()]


def check(folder: Path) -> tuple[int, bool]:
    """Raise where something cannot be read; how many steps there are, and whether the kill fell into a write."""
    record = read_record(folder)
    torn = [warning for warning in record.warnings if warning.startswith("metrics.jsonl is broken")]
    assert record.warnings == torn
    assert record.status == "killed"
    for path in files_of(folder).values():
        rows, fault = read_rows(path)
        assert (len(rows), fault) == (50, "")
    for path in folder.glob("*.json"):
        assert isinstance(json.loads(path.read_text()), dict)
    if (folder / "report.html").exists():
        assert (folder / "report.html").read_text().endswith("</html>")
    left = [path for path in folder.rglob(".*") if path.is_file()]  # what was not moved into place
    run = runs.reopen(folder)
    run.append_metrics({"step": record.n_steps + 1})
    run.write_completions(step_name(record.n_steps + 1), [{"completion": "x"}])
    run.rewind_to(record.n_steps)
    run.close()
    again = read_record(folder)
    assert (again.rows, again.warnings) == (record.rows, [])
    return record.n_steps, bool(torn or left)


def test_five_kills_leave_what_can_be_read(tmp_path: Path) -> None:
    folders = killed(tmp_path, 5, seed=0)
    assert len(folders) >= 4
    assert sum(check(folder)[0] for folder in folders) > 5


@pytest.mark.slow
def test_fifty_kills_leave_what_can_be_read(tmp_path: Path) -> None:
    found = [check(folder) for folder in killed(tmp_path, 50, seed=1)]
    assert len(found) >= 45
    assert sum(in_a_write for _, in_a_write in found) > 10, "the kills fell between the writes"
