"""A grid becomes cells, and what cannot run is one line before anything starts."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from toolkit.bench import sweep
from toolkit.bench.spec import Cell, Spec, expand, load
from toolkit.cli import main
from toolkit.errors import ModelError, SettingsError

ROOT = Path(__file__).parents[3]
RECIPE = ROOT / "tests" / "golden" / "bench_recipe.py"


def written(folder: Path, **parts: Any) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({"recipe": str(RECIPE), "settings": {"model": "embedded"}, **parts}))
    return path


def spec_of(**parts: Any) -> Spec:
    return Spec(
        Path("s.yaml"), **({"recipe": "", "settings": {}, "grid": {}, "pairs": [], "exclude": [], "when": []} | parts)
    )


VALUES = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)


@given(VALUES, VALUES, st.integers(0, 3), st.integers(1, 3))
def test_a_grid_is_every_combination_but_those_left_out(a: list[int], b: list[int], out: int, repeats: int) -> None:
    cells = expand(spec_of(grid={"a": a, "b": b}, exclude=[{"a": out}], repeats=repeats))
    wanted = [(x, y, r) for x, y in product(a, b) if x != out for r in range(repeats)]
    assert [(cell.settings["a"], cell.settings["b"], cell.repeat) for cell in cells] == wanted


def test_pairs_change_together_and_rules_follow() -> None:
    cells = expand(
        spec_of(
            settings={"c": 0},
            grid={"a": [1, 2]},
            pairs=[{"b": 1, "d": 1}, {"b": 2, "d": 4}],
            when=[{"if": {"a": 2, "b": [1, 2]}, "set": {"c": 9, "engine": "trl"}}],
            exclude=[{"a": 1, "d": [4, 5]}],
        )
    )
    assert [cell.point for cell in cells] == [
        {"engine": "toolkit", "c": 0, "a": 1, "b": 1, "d": 1},
        {"engine": "trl", "c": 9, "a": 2, "b": 1, "d": 1},
        {"engine": "trl", "c": 9, "a": 2, "b": 2, "d": 4},
    ]


def test_an_id_changes_with_whatever_decides_the_figures() -> None:
    cell, about = Cell("toolkit", {"a": 1, "b": 2}, 0), {"versions": {"trl": "1.15.0"}}
    others = [
        Cell("trl", {"a": 1, "b": 2}, 0).id(about),
        Cell("toolkit", {"a": 1, "b": 3}, 0).id(about),
        Cell("toolkit", {"a": 1, "b": 2}, 1).id(about),
        cell.id({"versions": {"trl": "1.16.0"}}),
    ]
    assert len({cell.id(about), *others}) == 5
    assert cell.id(about) == Cell("toolkit", {"b": 2, "a": 1}, 0).id(about), "the order of names says nothing"


SPECS = sorted((ROOT / "benchmarks" / "specs").glob("*.yaml"))
QUICK = ("embedded", "embedded_engines", "embedded_tune", "12gb")  # the others are larger grids of the same settings


@pytest.mark.parametrize(
    "path", [path if path.stem in QUICK else pytest.param(path, marks=pytest.mark.slow) for path in SPECS], ids=str
)
def test_a_shipped_spec_can_run(path: Path) -> None:
    assert load(path)[1]


def test_the_specs_are_found() -> None:
    assert len(SPECS) >= 5


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"grids": {}}, "'grids'; did you mean grid"),
        ({"grid": {"num_generation": [4]}}, "'num_generation'; did you mean num_generations"),
        ({"grid": {"num_generations": []}}, r"num_generations: \[\]; wanted a list of values"),
        ({"grid": {"num_generations": [4], "engine": ["tlr"]}}, "engine is 'tlr'; did you mean trl"),
        ({"grid": {"num_generations": [3]}}, "a multiple of num_generations 3"),
        ({"grid": {"num_generations": [4]}, "exclude": [{"num_generations": 4}]}, "comes to no cell"),
        ({"settings": {"temperature": -1}}, "--temperature is -1.0; wanted a value above 0"),
        ({"settings": {"num_generations": "many"}}, "num_generations"),
        ({"repeats": 0}, "repeats is 0; wanted at least 1"),
        ({"repeats": "two"}, "repeats is 'two'; wanted a whole number"),
        ({"recipe": "none.py"}, "none.py does not exist"),
        ({"pairs": ["x"]}, "'x' among pairs"),
        ({"when": [{"if": {}}]}, "wanted if: {...} and set: {...}"),
        ({"card": "9999"}, "9999"),
        ({"cap": "4009"}, "4009"),
        ({"grid": {"num_generations": [4, 8, 4]}}, "each value once"),
        ({"cap": [12]}, r"cap is \[12\]; wanted GiB, or the name of a card"),
        ({"weights": "randm"}, "weights is 'randm'; did you mean random"),
        ({"weights": "random", "settings": {"model": "Qwen/Qwen2.5-0.6B"}}, "unknown model"),
        ({"weights": "random", "settings": {"max_steps": 2}}, "no model is named; wanted model: a Hub id"),
        ({"settings": {"gradient_checkpointing": "hff"}}, "gradient_checkpointing"),
        ({"grid": {"engine": ["toolkit"]}, "warm_up_steps": 2}, "'warm_up_steps'; did you mean warmup_steps"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_bad_spec_is_one_line(tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    with pytest.raises((SettingsError, ModelError), match=said) as error:
        load(written(tmp_path, **parts))
    assert "\n" not in str(error.value)


def test_the_command_says_it_in_one_line_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, grid={"num_generation": [4]})
    assert main(["bench", "run", str(path), "--output", str(tmp_path / "results")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(find_spec("unsloth") is not None, reason="Unsloth is installed")
def test_an_engine_that_is_not_installed_is_said_before_a_cell_runs(tmp_path: Path) -> None:
    spec, cells = load(written(tmp_path, grid={"engine": ["toolkit", "unsloth"]}))
    with pytest.raises(SettingsError, match="engine is unsloth, which is not installed"):
        sweep.run(spec, cells, tmp_path / "results", print)
    assert not (tmp_path / "results").exists()
