"""The search finds what is fast, measures nothing that cannot fit, and takes nothing that earns less."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.bench.test_spec import ROOT, written
from toolkit.bench import preset, recipe, search, sweep, tune
from toolkit.bench.search import Point, proposals
from toolkit.bench.spec import Cell, load
from toolkit.bench.trials import Trial, fair, ratio
from toolkit.cli import main
from toolkit.errors import SettingsError

RECIPE = ROOT / "recipes" / "gsm8k_r1.py"


def searched(sizes: tuple[int, ...], speed: Callable[[Point], float], n: int = 1000) -> list[Point]:
    """The points that are proposed, in their order."""
    asked = proposals(sizes)
    points = [next(asked)]
    while len(points) < n:
        try:
            points.append(asked.send(speed(points[-1])))
        except StopIteration:
            break
    return points


def test_one_setting_at_a_time_comes_to_the_best_of_many() -> None:
    factors = ((1.0, 1.3), (1.0, 0.8, 1.6, 1.2), (1.0, 1.1, 0.5), (1.0, 2.0))

    def speed(point: Point) -> float:
        return math.prod(factor[i] for factor, i in zip(factors, point, strict=True))

    points = searched((2, 4, 3, 2), speed, 9)
    assert points[0] == (0, 0, 0, 0)
    assert max(points, key=speed) == (1, 2, 1, 1), "of 48 points the best is among the first 9"
    assert searched((2, 4, 3, 2), speed, 30) == searched((2, 4, 3, 2), speed, 30), (
        "a search that goes on repeats itself"
    )


def test_what_is_not_faster_beyond_the_noise_stays_as_it_was() -> None:
    points = searched((2, 2), lambda point: 1.02 if point[0] else 1.0, 3)
    assert points == [(0, 0), (1, 0), (0, 1)]


def test_settings_that_are_only_faster_together_are_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def speed(point: Point) -> float:
        return 3.0 if point == (2, 2, 1) else 1.0 if 2 not in point[:2] else 0.5

    pytest.importorskip("optuna")
    assert set(searched((3, 3, 2), speed)) == set(itertools.product(range(3), range(3), range(2)))
    monkeypatch.setattr(search, "has_optuna", lambda: False)
    assert (2, 2, 1) not in searched((3, 3, 2), speed)


@contextmanager
def faked(
    monkeypatch: pytest.MonkeyPatch, found: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Iterator[list[Mapping[str, Any]]]:
    """Cells that need a card, which a test has not: what they are asked for, and what `found` says of them."""
    ran: list[Mapping[str, Any]] = []

    def run_cell(cell: Cell) -> dict[str, Any]:
        ran.append(cell.settings)
        told = {"step_s": [1.0, 1.0], "reward": 0.5, "peak_gib": {"process": 1.0}} | found(cell.settings)
        return {"id": str(len(ran)), "status": "ok", "why": "", "measured": told, "about": {}}

    @contextmanager
    def runner(spec: Any, folder: Path) -> Iterator[Callable[[Cell], dict[str, Any]]]:
        yield run_cell

    monkeypatch.setattr(sweep, "runner", runner)
    yield ran


def test_what_does_not_fit_the_card_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"model": "Qwen/Qwen2.5-1.5B-Instruct", "load_in_4bit": True, "num_generations": 8}
    grid = {"gradient_checkpointing": ["unsloth", "none"], "max_completion_length": [1024, 256]}
    path = written(tmp_path, recipe=str(RECIPE), settings=base, grid=grid, card="3060")
    spec, _ = load(path)
    with faked(monkeypatch, lambda settings: {"step_s": [settings["max_completion_length"] / 100]}) as ran:
        found = tune.run(spec, tmp_path, 10, 4, lambda line: None)
    out = [trial for trial in found.trials if not trial.is_measured]
    assert out[0].changed == {"gradient_checkpointing": "none", "max_completion_length": 1024}
    assert "GiB, and RTX 3060 12GB has 11.6" in out[0].why
    assert all((s["gradient_checkpointing"], s["max_completion_length"]) != ("none", 1024) for s in ran)
    assert {(s["max_steps"], s["n_eval"]) for s in ran} == {(4, tune.N_EVAL)}
    assert found.best.changed["max_completion_length"] == 256
    assert found.as_json()["times_as_fast"] == 4.0


def test_faster_for_less_reward_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = load(written(tmp_path, grid={"max_completion_length": [96, 48, 16]}))

    def told(settings: Mapping[str, Any]) -> dict[str, Any]:
        length = settings["max_completion_length"]
        return {"step_s": [length / 10], "reward": 0.1 if length == 16 else 0.48}

    with faked(monkeypatch, told):
        found = tune.run(spec, tmp_path, 10, 4, lambda line: None)
    assert found.best.changed == {"max_completion_length": 48}
    assert (found.trials[2].status, found.trials[2].why) == ("lower reward", "reward 0.10, and the start had 0.48")


def test_a_preset_says_all_that_was_measured_and_a_recipe_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = {"gradient_checkpointing": ["hf", "none"]}
    pairs = [{"per_device_train_batch_size": n, "gradient_accumulation_steps": 64 // n} for n in (8, 64)]
    spec, _ = load(written(tmp_path, recipe=str(RECIPE), grid=grid, pairs=pairs, settings={"model": "embedded"}))
    with faked(monkeypatch, lambda s: {"step_s": [4.0 / s["per_device_train_batch_size"]]}):
        found = tune.run(spec, tmp_path, 10, 4, lambda line: None)
    text = preset.as_yaml(spec, found)
    path = tmp_path / "preset.yaml"
    path.write_text(text)
    measured = recipe.settings_here(RECIPE, spec.command(found.cell))
    read = recipe.settings_here(RECIPE, ["--config", str(path)])
    assert (read.model, read.rollout, read.optim, read.data) == (
        measured.model,
        measured.rollout,
        measured.optim,
        measured.data,
    )
    assert yaml.safe_load(text)["per_device_train_batch_size"] == 64
    assert "max_steps" in yaml.safe_load(text), "those of the model's own preset, and not a probe's"
    assert read.optim.max_steps == 40
    assert "8.00 times the start's" in text


@pytest.mark.parametrize(
    ("parts", "probe_steps", "said"),
    [
        ({"grid": {"num_generations": [4]}}, 8, "has nothing to choose from"),
        ({"grid": {"engine": ["toolkit", "trl"]}}, 8, "has another engine"),
        ({"grid": {"num_generations": [4, 8]}, "warmup_steps": 2}, 2, "--probe_steps 2 with 2 of the warm-up"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    tmp_path: Path, parts: dict[str, Any], probe_steps: int, said: str
) -> None:
    spec, _ = load(written(tmp_path, **parts))
    with pytest.raises(SettingsError, match=said):
        tune.run(spec, tmp_path / "results", 4, probe_steps, lambda line: None)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("name", "said"), [("x.txt", "is no preset"), ("none/x.yaml", "cannot be written")])
def test_a_preset_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    path = written(tmp_path, grid={"num_generations": [4, 8]})
    argv = ["bench", "tune", str(path), "--preset", str(tmp_path / name), "--output", str(tmp_path / "out")]
    assert main(argv) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_committed_search_found_what_the_readme_says() -> None:
    found = json.loads((ROOT / "benchmarks" / "baselines" / "embedded_tune.json").read_text())
    told = " ".join((ROOT / "benchmarks" / "README.md").read_text().split())
    start, best, n_trials = found["start"], found["best"], len(found["trials"])
    assert f"with {start['completions_per_s']:.0f} completions/s, {n_trials} trials of 8 steps came to" in told
    assert f"came to {best['completions_per_s']:.0f}, {found['times_as_fast']:.2f} times as many" in told
    pairs = [(Trial(**pair["start"]), Trial(**pair["best"])) for pair in found["confirmed"]]
    ratios = [times for pair in pairs if (times := ratio(*pair))]
    assert statistics.median(ratios) == pytest.approx(found["confirmed_times_as_fast"], abs=0.01)
    assert min(ratios) >= 1.5
    assert f"it was {found['confirmed_times_as_fast']:.2f} times" in told
    for first, second in pairs:
        assert fair(second, first) == second, "no less reward"
        assert f"a reward of {second.reward:.2f} beside {first.reward:.2f}" in told
        assert f"a pass@1 of {100 * (second.pass_at_1 or 0):.1f} % beside {100 * (first.pass_at_1 or 0):.1f} %" in told
