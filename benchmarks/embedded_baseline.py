"""Run the CPU default for some seeds, one after another, and write what it reached.

    python benchmarks/embedded_baseline.py --seeds 0 1 2 3

Writes `benchmarks/baselines/gsm8k_r1_embedded.json`, from which the README's table is read: `test_readme` compares.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from toolkit.files import write_json

ROOT = Path(__file__).parents[1]
KEPT = ("python", "machine", "n_cpus", "gpus", "versions")


@dataclass(frozen=True)
class Settings:
    """Measure the embedded default."""

    seeds: tuple[int, ...] = (0, 1, 2, 3)
    """Seeds to run."""
    output: Path = ROOT / "benchmarks" / "baselines" / "gsm8k_r1_embedded.json"
    """File to write."""


def main(settings: Settings) -> None:
    """Run every seed as a user would, and keep the summaries with the environment."""
    runs, environment = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in settings.seeds:
            run = Path(folder) / str(seed)
            recipe = [sys.executable, str(ROOT / "recipes" / "gsm8k_r1.py")]
            subprocess.run([*recipe, "--seed", str(seed), "--output_dir", str(run)], check=True, cwd=ROOT)
            runs.append(json.loads((run / "summary.json").read_text()))
            environment = json.loads((run / "environment.json").read_text())
    described = {key: environment[key] for key in KEPT}
    command = "python recipes/gsm8k_r1.py --seed N"
    write_json(settings.output, {"command": command, "environment": described, "runs": runs})
    for row in runs:
        print(table_row(row))


def table_row(run: dict) -> str:
    """The README's row of one run."""
    cells = [str(run["seed"])]
    for when in ("before", "after"):
        low, high = run[when]["interval"]
        cells.append(f"{run[when]['pass_at_1']:.1%} ({low:.1%} to {high:.1%})")
    return "| " + " | ".join([*cells, f"{run['wall_s']:.0f} s"]) + " |"


if __name__ == "__main__":
    main(tyro.cli(Settings))
