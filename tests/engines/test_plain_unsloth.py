"""A sweep's cell that trains by the script of Unsloth's documentation, in Unsloth's CPU mode."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.paths import ROOT
from toolkit.bench import sweep
from toolkit.bench.spec import load

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("unsloth") is None, reason="not the environment of tests/engines/make_env.sh unsloth"),
]
SPEC = f"""
recipe: {ROOT / "recipes" / "gsm8k_r1.py"}
settings: {{engine: unsloth, model: embedded, max_steps: 2, warmup_steps: 0, max_completion_length: 16}}
grid: {{load_in_4bit: [true]}}
warmup_steps: 1
limit_s: 300
"""


def test_unsloths_own_script_trains_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "unsloth.yaml"
    path.write_text(SPEC)
    (record,) = sweep.run(*load(path), tmp_path / "results", print)
    assert (record["status"], record["why"]) == ("ok", "")
    assert (record["point"]["engine"], record["measured"]["n_steps"]) == ("unsloth", 1)
    assert record["measured"]["n_tokens"] > 0
