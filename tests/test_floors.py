"""Imports point downward: an ast graph of the package, held against the floors."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Longest matching prefix decides. A module may import, at module level, from its own floor and below.
FLOORS = {
    "toolkit": 0,
    "toolkit.errors": 0,
    "toolkit.files": 0,
    "toolkit.findings": 0,
    "toolkit.units": 0,
    "toolkit.settings": 1,
    "toolkit.rewards": 1,
    "toolkit.rewards.bench": 2,
    "toolkit.rewards.learned": 3,  # finds its model as the trainer does
    "toolkit.sandbox": 1,
    "toolkit.evaluation.estimators": 1,
    "toolkit.data": 3,
    "toolkit.data.schema": 1,
    "toolkit.data.rows": 1,
    "toolkit.data.arithmetic": 1,
    "toolkit.vram": 1,
    "toolkit.vram.views": 2,
    "toolkit.vram.simulation": 3,
    "toolkit.runs": 2,
    "toolkit.compat": 2,
    "toolkit.display": 2,
    "toolkit.machine": 2,
    "toolkit.doctor": 2,
    "toolkit.backends": 3,
    "toolkit.models": 3,
    "toolkit.training": 4,
    "toolkit.evaluation": 4,
    "toolkit.export": 4,
    "toolkit.launch": 5,
    "toolkit.cli": 5,
    "toolkit.__main__": 6,
}
# Heavy packages never stand at module level: unsloth must be imported before trl, transformers and peft
HEAVY = {"torch", "transformers", "trl", "peft", "unsloth", "vllm", "datasets", "accelerate", "bitsandbytes", "pandas"}
HEAVY |= {"sympy", "math_verify"}  # half a second, and only the comparing process needs them
RECIPES_MAY_NOT = {"argparse", "torch", "transformers", "trl", "peft", "unsloth", "vllm", "os", "sys"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor_of(module: str) -> int:
    while module not in FLOORS:
        module = module.rpartition(".")[0]
    return FLOORS[module]


def imports_at_module_level(tree: ast.Module) -> list[str]:
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def package_files() -> list[Path]:
    files = sorted((ROOT / "toolkit").rglob("*.py"))
    assert len(files) > 30, "the glob found too few modules to be believed"
    return files


def test_imports_point_downward() -> None:
    up = []
    for path in package_files():
        module = module_name(path)
        for name in imports_at_module_level(ast.parse(path.read_text())):
            if name.startswith("toolkit.") and floor_of(name) > floor_of(module):
                up.append(f"{module} (floor {floor_of(module)}) imports {name} (floor {floor_of(name)})")
    assert up == []


def test_heavy_packages_are_imported_inside_functions() -> None:
    heavy = []
    for path in package_files():
        for name in imports_at_module_level(ast.parse(path.read_text())):
            if name.partition(".")[0] in HEAVY:
                heavy.append(f"{module_name(path)} imports {name} at module level")
    assert heavy == []


def test_a_recipe_has_no_machinery() -> None:
    recipes = sorted((ROOT / "recipes").glob("*.py"))
    assert recipes
    for path in recipes:
        tree = ast.parse(path.read_text())
        names = {name.partition(".")[0] for name in imports_at_module_level(tree)}
        assert names & RECIPES_MAY_NOT == set(), path.name
        assert not any(isinstance(node, ast.Try) for node in ast.walk(tree)), path.name
        assert "print(" not in path.read_text(), path.name
        assert len(path.read_text().splitlines()) <= 110, path.name
