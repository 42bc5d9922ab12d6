"""The keys stand in one place: no other module spells one or takes one apart."""

from __future__ import annotations

import ast

import pytest

from tests.paths import ROOT
from toolkit.runs import metrics


def test_no_other_module_spells_a_key() -> None:
    ours = {key for name, key in vars(metrics).items() if name.isupper() and "/" in str(key)}
    assert len(ours) > 15
    files = [path for path in (ROOT / "toolkit").rglob("*.py") if path != ROOT / "toolkit" / "runs" / "metrics.py"]
    assert len(files) > 100
    spelled = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in ours
    ]
    assert spelled == []


def test_the_means_of_the_rewards_are_found_by_name() -> None:
    keys = ["reward", "rewards/a/b/mean", "rewards/a/b/std", "rewards/mean", "completions/mean_length"]
    assert metrics.reward_means(keys) == {"a/b": "rewards/a/b/mean"}


@pytest.mark.parametrize(("key", "is_volatile"), [("time/step_s", True), ("reward", False), ("rewards/x/mean", False)])
def test_clocks_and_memory_may_differ(key: str, is_volatile: bool) -> None:
    assert metrics.is_volatile(key) is is_volatile
