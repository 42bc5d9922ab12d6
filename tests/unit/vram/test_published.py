"""The planner against published measurements: its aims, the committed tables, and what may be compared with what."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from tests.paths import ROOT
from toolkit.vram.plan import Phase

BASELINE = ROOT / "benchmarks" / "baselines" / "planner_published.json"
sys.path.insert(0, str(ROOT / "benchmarks"))

bench: Any = import_module("published_vram")
PUBLISHED = json.loads(bench.PUBLISHED.read_text(encoding="utf-8"))
JUDGEMENT = bench.judge(PUBLISHED)
EXACT = {name for name, source in PUBLISHED["sources"].items() if source["lengths"] == "exact"}
ALL_ROWS = 161  # of trust A and B in the collection


def errors(metric: str) -> list[float]:
    rows = [row for row in JUDGEMENT["figures"] if row["source"] in EXACT and row["metric"] == metric]
    return [abs(row["error_percent"]) for row in rows]


@pytest.mark.parametrize(("metric", "mean", "worst"), [("allocated", 2, 5), ("process", 5, 12)])
def test_the_aims_where_lengths_are_exact(metric: str, mean: float, worst: float) -> None:
    assert len(errors(metric)) >= 16
    assert sum(errors(metric)) / len(errors(metric)) < mean
    assert max(errors(metric)) < worst


def test_every_verdict_is_right_where_lengths_are_exact() -> None:
    verdicts = [row for row in JUDGEMENT["verdicts"] if row["source"] in EXACT]
    assert {row["ran"] for row in verdicts} == {True, False}
    assert [row for row in verdicts if not row["right"]] == []


def test_most_measured_processes_lie_in_the_interval() -> None:
    inside = [row["inside_interval"] for row in JUDGEMENT["figures"] if row["metric"] == "process"]
    assert sum(inside) >= 0.9 * len(inside)


def test_what_is_committed_is_what_is_computed() -> None:
    again = "python benchmarks/published_vram.py"
    assert json.loads(BASELINE.read_text(encoding="utf-8")) == JUDGEMENT, again
    text = BASELINE.with_suffix(".md").read_text(encoding="utf-8")
    assert text == bench.as_markdown(JUDGEMENT, PUBLISHED), again


def test_every_row_is_judged_or_left_out_with_a_reason() -> None:
    judged = [row["id"] for row in PUBLISHED["rows"]]
    left = [row for group in PUBLISHED["left_out"] for row in group["ids"]]
    assert len(judged + left) == len({*judged, *left}) == ALL_ROWS
    assert all(len(group["reason"]) > 5 for group in PUBLISHED["left_out"])
    assert all(row.get("measured") or "runs" in row for row in PUBLISHED["rows"])


def test_each_metric_is_the_plans_own() -> None:
    """Powers of two, so that a sum says what it was made of."""
    phases = {
        "load": {"weights": 1.0, "lora": 2.0, "slack": 4.0, "context": 8.0},
        "update": {"weights": 1.0, "activations": 16.0, "slack": 32.0, "context": 8.0, "kv_cache": 64.0},
    }
    plan = replace(
        bench.plan_of(PUBLISHED, PUBLISHED["rows"][0]),
        phases={name: Phase(name, parts) for name, parts in phases.items()},
    )
    planned = {metric: of(plan) for metric, of in bench.PLANNED.items()}
    assert planned == {"allocated": 17, "reserved": 17 + 32, "process": 17 + 32 + 8 + 64, "reserved, loaded": 7}


def test_measured_metrics_are_in_order() -> None:
    """The context that fitcheck's driver counted is the same in every row, so that none was copied from another."""
    rows = [row["measured"] for row in PUBLISHED["rows"] if "process" in row.get("measured", {})]
    assert len(rows) == 16
    for row in rows:
        assert row["allocated"] < row["reserved"]
        assert row["process"] - row["reserved"] == pytest.approx(140.875, abs=0.06)  # rounded to 0.1 MiB


def changed(**row: Any) -> dict[str, Any]:
    """Everything that is published, with the first row of fitcheck alone, changed."""
    one = copy.deepcopy(PUBLISHED)
    one["rows"] = [one["rows"][0] | row]
    return one


def test_an_error_is_of_the_plan_in_the_sources_unit() -> None:
    planned_mib = 1024 * bench.plan_of(PUBLISHED, PUBLISHED["rows"][0]).peak_reserved_gib
    judged = bench.judge(changed(measured={"reserved": 1.25 * planned_mib}))
    assert [row["error_percent"] for row in judged["figures"]] == [-20]
    assert (
        judged["summary"][0] | {"mean_error_percent": 20, "bias_percent": -20, "worst_id": 22, "n": 1}
        == judged["summary"][0]
    )


def test_a_wrong_verdict_is_shown() -> None:
    published = changed(runs=False)
    judged = bench.judge(published)
    assert [row["right"] for row in judged["verdicts"]] == [False]
    assert "| fitcheck | exact | 0 | 1 | 0 | 22: fits |" in bench.as_markdown(judged, published)
