"""What must answer at once never loads a heavy package: a subprocess reads its own `sys.modules`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.runs.made import make_run

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "unsloth", "vllm", "pandas", "numpy", "sympy")
HEAVY += ("math_verify",)

PROBE = """
import atexit, json, os, sys
atexit.register(lambda: open(os.environ["PROBE"], "w").write(json.dumps(sorted(sys.modules))))
sys.argv = sys.argv[1:]
if sys.argv[0].endswith(".py"):
    import runpy
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    from toolkit import cli
    cli.main()
"""


def modules_loaded_by(argv: list[str], tmp_path: Path, expected: int = 0) -> set[str]:
    import os

    out = tmp_path / "modules.json"
    env = os.environ | {"PROBE": str(out), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", PROBE, *argv], cwd=ROOT, env=env, capture_output=True, check=False)
    assert done.returncode == expected, done.stderr.decode()
    return set(json.loads(out.read_text()))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["recipes/gsm8k_r1.py", "--help"], 0),
        (["recipes/gsm8k_r1.py", "--num_generations", "7"], 2),
        (["recipes/gsm8k_r1.py", "--grpo.los_type", "x"], 2),
        (["toolkit", "--help"], 0),
        (["toolkit", "doctor", "--json"], 0),
        (["toolkit", "plan", "--model", "embedded", "--json"], 0),
        (["toolkit", "plan", "--gpu", "3060", "--model", "Qwen/Qwen2.5-7B-Instruct"], 0),
        (["toolkit", "plan", "--table", "--gpu", "all"], 0),
        (["toolkit", "plan", "--fit", "--gpu", "4090"], 0),
        (["toolkit", "reward", "--help"], 0),
        (["toolkit", "runs", "diagnose", "tests/golden/healthy_run.jsonl"], 0),
        (["toolkit", "eval", "--help"], 0),
        (["toolkit", "eval", "embedded", "--n_samples", "2", "--k", "4"], 0),
        (["toolkit", "eval", "compare"], 0),
        (["recipes/evaluate.py", "--help"], 0),
        (["toolkit", "reward", "list"], 0),
        (["toolkit", "reward", "check", "correct", "--dataset", "tests/golden/problems.jsonl"], 0),
        (["toolkit", "reward", "attack", "format", "--n_rows", "2"], 0),
        (["toolkit", "reward", "try", "recipes/cases/gsm8k_r1.yaml"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_no_heavy_package_is_loaded(argv: list[str], expected: int, tmp_path: Path) -> None:
    assert sorted(modules_loaded_by(argv, tmp_path, expected) & set(HEAVY)) == []


@pytest.mark.parametrize("verb", ["ls", "show", "diagnose", "completions", "report", "compare"])
def test_what_runs_have_left_is_read_without_torch(verb: str, tmp_path: Path) -> None:
    """Texts and charts take Arrow and matplotlib, which bring numpy along."""
    folder = str(make_run(tmp_path / "runs" / "one"))
    argv = ["toolkit", "runs", verb, folder, *([folder] if verb == "compare" else [])]
    loaded = modules_loaded_by(argv, tmp_path) & set(HEAVY)
    assert loaded <= ({"numpy"} if verb in ("completions", "report", "compare") else set())


def test_the_probe_sees_what_is_loaded(tmp_path: Path) -> None:
    script = tmp_path / "heavy.py"
    script.write_text("import numpy\n")
    assert "numpy" in modules_loaded_by([str(script)], tmp_path)
