"""Time the code reward on small programs, at every level of isolation that works here.

    python benchmarks/sandbox_speed.py --n_workers 2

Writes `benchmarks/baselines/sandbox_speed.json`. Half of the programs are tested by assertions, half by cases; a
quarter are wrong. It says what a start costs, not what code costs: none of them computes for longer than it starts.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import tyro

from toolkit.files import write_json
from toolkit.rewards import code
from toolkit.rewards.code import CodeTests
from toolkit.sandbox import levels
from toolkit.sandbox.start import LEVELS

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Settings:
    """Measure the sandbox."""

    n_programs: int = 200
    """Programs a level."""
    n_workers: int = 2
    """Programs at once."""
    output: Path = ROOT / "benchmarks" / "baselines" / "sandbox_speed.json"
    """File to write."""


def main(settings: Settings) -> None:
    """Measure each level as the reward would use it."""
    completions, tests, expected = programs(settings.n_programs)
    rows = []
    for level in LEVELS:
        if why := levels.why_not(level):
            print(f"{level:<12} {why}")
            continue
        load = os.getloadavg()[0]
        started = time.perf_counter()
        with mock.patch.object(code, "choose_level", return_value=level):
            scores = CodeTests(n_workers=settings.n_workers)(completions, tests=tests)
        wall_s = time.perf_counter() - started
        assert scores == expected, "a verdict is wrong"
        rows.append({"level": level, "wall_s": round(wall_s, 2), "load_before": round(load, 1)})
        print(f"{level:<12} {wall_s:6.2f} s  {1000 * wall_s / len(scores):5.1f} ms a program")
    machine = {"python": platform.python_version(), "kernel": platform.release(), "n_cpus": os.cpu_count()}
    write_json(
        settings.output,
        {
            "command": "python benchmarks/sandbox_speed.py",
            "n_programs": settings.n_programs,
            "n_workers": settings.n_workers,
            "machine": machine,
            "levels": rows,
        },
    )


def programs(n: int) -> tuple[list[str], list[Any], list[float]]:
    """Completions, their tests, and their scores."""
    completions, tests, scores = [], [], []
    for i in range(n):
        right = i % 4 > 0
        factor = i if right else i + 1
        if i % 2:
            program = f"def f(values):\n    return sum(value * {factor} for value in values)"
            tests.append([f"assert f({list(range(k))}) == {i * sum(range(k))}" for k in range(2, 5)])
        else:
            program = f"print(int(input()) * {factor})"
            tests.append([{"input": f"{k}\n", "output": f"{k * i}\n"} for k in range(1, 4)])
        completions.append(f"```python\n{program}\n```")
        scores.append(float(right))
    return completions, tests, scores


if __name__ == "__main__":
    main(tyro.cli(Settings))
