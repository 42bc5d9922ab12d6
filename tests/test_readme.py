"""What the README says is so: its commands are the gate's, its figures are the file's, its links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.paths import CONFIGS
from toolkit.cli.plan import Plan as PlanCommand
from toolkit.compat import tested_sets
from toolkit.control.rules import RULES
from toolkit.machine.devices import Gpu
from toolkit.settings import GrpoSettings
from toolkit.settings.parse import parse, read_yaml
from toolkit.vram.catalog import find
from toolkit.vram.formula import costs
from toolkit.vram.formula.timing import estimate
from toolkit.vram.formula.update import Update
from toolkit.vram.plan import Plan
from toolkit.vram.request import check
from toolkit.vram.run_plan import plan_run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RECIPES_README = (ROOT / "recipes" / "README.md").read_text()
BENCHMARKS_README = (ROOT / "benchmarks" / "README.md").read_text()
BASELINES = ROOT / "benchmarks" / "baselines"


def commands() -> list[str]:
    return [line.partition("  #")[0].strip() for line in commands_with_comments()]


def commands_with_comments() -> list[str]:
    return README.split("```bash\n")[1].split("```")[0].splitlines()


def test_the_gate_runs_the_first_two_commands_as_they_stand() -> None:
    gate = (ROOT / ".ci" / "run").read_text().splitlines()
    assert len(commands()) == 3
    for command in commands()[:2]:
        assert command in gate


def test_every_recipe_command_that_is_shown_parses() -> None:
    shown = re.findall(r"python recipes/gsm8k_r1\.py([^`\n#]*)", README + RECIPES_README + BENCHMARKS_README)
    assert len(shown) >= 9
    for arguments in shown:
        argv = [word for word in arguments.split() if word != "--help"]
        parse(GrpoSettings, argv)


def test_every_plan_that_is_shown_parses() -> None:
    shown = re.findall(r"`toolkit plan([^`]*)`", README + RECIPES_README)
    assert len(shown) >= 4
    for arguments in shown:
        check(parse(PlanCommand, arguments.split()))


def test_the_figures_are_read_from_the_committed_run() -> None:
    runs = json.loads((BASELINES / "gsm8k_r1_embedded.json").read_text())["runs"]
    assert [run["seed"] for run in runs] == [0, 1, 2, 3]
    for run in runs:
        cells = [f"{run['seed']}"]
        for when in ("before", "after"):
            low, high = run[when]["interval"]
            cells.append(f"{run[when]['pass_at_1']:.1%} ({low:.1%} to {high:.1%})")
        cells.append(f"{run['wall_s']:.0f} s")
        assert "| " + " | ".join(cells) + " |" in README


def test_what_vllm_makes_of_rollouts_is_what_the_plan_says() -> None:
    told = re.search(r"rollouts\s+are ([0-9.]+) \(3060\) to ([0-9.]+) times \(4090\)", README)
    assert told is not None
    cards = (("12gb", "RTX 3060", 12.0, (8, 6)), ("24gb", "RTX 4090", 23.99, (8, 9)))
    for said, (preset, name, total_gib, capability) in zip(told.groups(), cards, strict=True):
        settings = parse(GrpoSettings, [], [(preset, read_yaml(CONFIGS / f"{preset}.yaml"))])
        gpu = Gpu(0, f"NVIDIA GeForce {name}", total_gib, total_gib - 0.45, capability, "580.65")
        ways: tuple[tuple[Literal["unsloth", "trl"], bool], ...] = (("trl", False), ("unsloth", True))
        slow, fast = (plan_run(settings, gpu, framework=f, has_vllm=v, share_is_given=False).plan for f, v in ways)
        assert float(said) == pytest.approx(rollout_s(slow) / rollout_s(fast), abs=0.06)


def rollout_s(plan: Plan) -> float:
    timing = estimate(plan.request, plan.shape, plan.card, plan.engine)
    assert timing is not None
    assert timing.rollout_s is not None
    return timing.rollout_s.mid


def test_the_driver_that_is_named_is_the_one_that_the_build_needs() -> None:
    (build,) = (build for build in tested_sets.load().builds if build.cuda == (13, 0))
    assert f"driver {build.driver['Linux']} or newer" in commands_with_comments()[2]


def test_the_planners_figures_are_read_from_the_committed_points() -> None:
    points = json.loads((BASELINES / "planner_vs_simulation.json").read_text())["points"]
    errors = {id(p): abs(peak_of(p) / p["peak_bytes"] - 1) for p in points}
    for chosen in (points, [p for p in points if p["held_out"]]):
        found = [errors[id(p)] for p in chosen]
        assert f"| {len(found)} | {sum(found) / len(found):.1%}, {max(found):.1%} | |".replace("%", " %") in README
    published = json.loads((BASELINES / "planner_published.json").read_text())
    by_metric = {row["metric"]: row for row in published["summary"] if row["source"] == "fitcheck"}
    tensors, process = (
        f"{row['mean_error_percent']:.1f} %, {abs(row['worst_error_percent']):.1f} %"
        for row in (by_metric["allocated"], by_metric["process"])
    )
    assert f"| {by_metric['process']['n']} | {tensors} | {process} |" in README
    right = [row["right"] for row in published["verdicts"]]
    assert f"of {len(right)} verdicts, ran or did not, {sum(right)} are right" in README


def peak_of(point: dict[str, Any]) -> float:
    update = Update(**{**point["update"], "targets": tuple(point["update"]["targets"])})
    return costs.peak(find(point["model"]), update).total


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "recipes" / "README.md"], ids=lambda p: p.parent.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_readme_fits_one_screen() -> None:
    assert len(README.splitlines()) <= 80


def test_the_number_of_health_rules() -> None:
    assert f"({len(RULES)} rules, each with its source)" in README
