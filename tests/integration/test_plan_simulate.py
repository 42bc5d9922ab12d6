"""`toolkit plan --simulate` as a process of its own."""

from __future__ import annotations

import json

import pytest

from tests.integration.commands import toolkit

PARTS = ("weights", "lora", "optimizer", "gradients", "rest")


def test_a_small_model_as_the_formula_has_it() -> None:
    done = toolkit("plan", "--simulate", "--json", "--model", "SmolLM2-135M", "--gpu", "T4")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    formula, simulated_gib = answer["formula_gib"], answer["simulated_gib"]
    for row in (*PARTS, "total"):
        assert formula[row] == pytest.approx(simulated_gib[row], rel=0.03, abs=0.03 * simulated_gib["total"]), row
    assert formula["total"] == pytest.approx(simulated_gib["total"], rel=0.03)
    assert sum(simulated_gib[row] for row in PARTS) == pytest.approx(simulated_gib["total"], abs=1e-3)
    assert simulated_gib["optimizer"] == pytest.approx(formula["optimizer"], rel=0.03)  # 8 bit: bitsandbytes' own
    assert answer["layers"] == {"simulated": [2, 4], "model": 30}
    assert simulated_gib["reserved"] is None
    assert formula["reserved"] > formula["total"]
    assert 0 < answer["seconds"] < 120
