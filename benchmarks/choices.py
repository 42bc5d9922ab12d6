"""Change one setting of the CPU default at a time, and write what the live view showed and what the run reached.

    python benchmarks/choices.py

Writes `benchmarks/baselines/choices_embedded.json`, from which `recipes/GUIDE.md` is read: `test_guide` compares. Runs
that are in the file already are kept, so it can be stopped and started again.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from toolkit.files import write_json
from toolkit.runs import metrics
from toolkit.runs.names import ENVIRONMENT, SUMMARY
from toolkit.runs.reader import read_json, read_metrics
from toolkit.units import rounded

ROOT = Path(__file__).parents[1]
KEPT = ("python", "machine", "n_cpus", "gpus", "versions")
N_STEPS = 5
"""Steps at the beginning and at the end whose means are kept."""
CHOICES: tuple[tuple[str, str], ...] = (
    ("", ""),  # the CPU default as it is
    *(("num_generations", value) for value in ("2", "4", "16")),
    *(("temperature", value) for value in ("0.3", "0.7", "1.5")),
    *(("beta", value) for value in ("0.001", "0.04", "0.2")),
    *(("learning_rate", value) for value in ("3e-5", "3e-4", "1e-2")),
    *(("max_completion_length", value) for value in ("24", "32")),
    ("correct_weight", "0"),
    ("format_weight", "0"),
)
FIGURES = (
    *(metrics.REWARD, "rewards/correct/mean", "rewards/format/mean", metrics.LENGTH, metrics.TRUNCATED),
    *(metrics.NO_SIGNAL, metrics.GRAD_NORM, metrics.ENTROPY, metrics.KL),
)


@dataclass(frozen=True)
class Settings:
    """Measure what each choice does to the embedded default."""

    seeds: tuple[int, ...] = (0,)
    """Seeds to run."""
    output: Path = ROOT / "benchmarks" / "baselines" / "choices_embedded.json"
    """File to write."""


def main(settings: Settings) -> None:
    """Run each choice as a user would, and keep its figures beside the setting that was changed."""
    document = read_json(settings.output) if settings.output.exists() else {}
    runs: list[dict[str, Any]] = document.get("runs", [])
    for seed in settings.seeds:
        for name, value in CHOICES:
            if any((run["setting"], run["value"], run["seed"]) == (name, value, seed) for run in runs):
                continue
            found, environment = run_once(name, value, seed)
            runs.append({"setting": name, "value": value, "seed": seed, **found})
            command = "python recipes/gsm8k_r1.py --model embedded --SETTING VALUE --seed N"
            described = {key: environment[key] for key in KEPT}
            write_json(settings.output, {"command": command, "environment": described, "runs": runs})
            print(f"{name or 'default'} {value} seed {seed}: pass@1 {found['after']['pass_at_1']:.1%}", flush=True)


def run_once(name: str, value: str, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run's figures, and the environment that it recorded."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        flags = [f"--{name}", value] if name else []
        recipe = [sys.executable, str(ROOT / "recipes" / "gsm8k_r1.py"), "--model", "embedded", *flags]
        subprocess.run([*recipe, "--seed", str(seed), "--output_dir", str(run)], check=True, cwd=folder)
        rows, summary = read_metrics(run), read_json(run / SUMMARY)
        return figures(rows, summary), read_json(run / ENVIRONMENT)


def figures(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Means of the first and the last `N_STEPS` steps, and pass@1 with its interval before and after."""
    return {
        "steps": len(rows),
        "first": means(rows[:N_STEPS]),
        "last": means(rows[-N_STEPS:]),
        "reward_by_step": [rounded(row[metrics.REWARD]) for row in rows],
        "before": {key: summary["before"][key] for key in ("pass_at_1", "interval", "n", "mean_tokens", "format_frac")},
        "after": {key: summary["after"][key] for key in ("pass_at_1", "interval", "n", "mean_tokens", "format_frac")},
    }


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Of each figure, over the steps that have it."""
    columns = {key: [row[key] for row in rows if row.get(key) is not None] for key in FIGURES}
    return {key: rounded(statistics.fmean(values)) for key, values in columns.items() if values}


if __name__ == "__main__":
    main(tyro.cli(Settings))
