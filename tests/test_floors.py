"""Imports point downward: an ast graph of the package, held against the floors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Longest matching prefix decides. A module may import, at module level, from its own floor and below.
GROUND, LOGIC, MACHINE, ENGINES, WORK, COMMANDS = range(6)
FLOORS = {
    "toolkit": GROUND,
    **dict.fromkeys(("toolkit.errors", "toolkit.units", "toolkit.files", "toolkit.findings"), GROUND),
    "toolkit.settings": LOGIC,
    "toolkit.rewards": LOGIC,
    "toolkit.control": LOGIC,
    "toolkit.rewards.bench": ENGINES,  # reads files as the data loaders do, and shows what it finds
    "toolkit.rewards.learned": ENGINES,  # finds its model as the trainer does
    "toolkit.runs.metrics": LOGIC,  # names, which what reads metrics without a folder needs, too
    "toolkit.sandbox": LOGIC,
    "toolkit.evaluation.estimators": LOGIC,
    "toolkit.data.schema": LOGIC,
    "toolkit.data.rows": LOGIC,
    "toolkit.data.arithmetic": LOGIC,
    "toolkit.vram": LOGIC,
    "toolkit.vram.views": ENGINES,  # draws with `display`
    "toolkit.vram.simulation": ENGINES,  # loads torch and its company
    "toolkit.compat": MACHINE,
    "toolkit.machine": MACHINE,
    "toolkit.runs": MACHINE,
    "toolkit.display": MACHINE,
    "toolkit.doctor": MACHINE,
    "toolkit.backends": ENGINES,
    "toolkit.models": ENGINES,
    "toolkit.data": ENGINES,
    "toolkit.training": WORK,
    "toolkit.evaluation": WORK,
    "toolkit.export": WORK,
    "toolkit.report": WORK,
    "toolkit.launch": COMMANDS,
    "toolkit.bench": COMMANDS,  # a cell is a run as a person starts it
    "toolkit.cli": COMMANDS,
    "toolkit.__main__": COMMANDS,
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


def modules() -> dict[str, set[str]]:
    """Each module of the package -> the modules of the package that it imports at module level."""
    files = {module_name(path): path for path in package_files()}
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        names = imports_at_module_level(ast.parse(path.read_text()))
        # `from toolkit.runs import Run` names something in a module, `from toolkit.runs import metrics` a module
        graph[module] = {name if name in files else name.rpartition(".")[0] for name in names} & files.keys() - {module}
    return graph


def test_imports_point_downward() -> None:
    up = [
        f"{module} (floor {floor_of(module)}) imports {name} (floor {floor_of(name)})"
        for module, imported in modules().items()
        for name in imported
        if floor_of(name) > floor_of(module)
    ]
    assert up == []


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import one another, directly or by way of others."""

    def reach(module: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*graph[module]]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += graph[name]
        return seen

    reached = {module: reach(module) for module in graph}
    alike = {tuple(sorted(m for m in reached[module] if module in reached[m])) for module in graph}
    return [list(circle) for circle in sorted(alike - {()})]


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles(modules()) == []


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


def test_the_walks_of_the_readme_name_functions_that_exist_and_never_climb() -> None:
    told = (ROOT / "README.md").read_text().partition("Two walks")[2].partition("A change comes with")[0]
    hops = 0
    for branch in re.split(r"\n- |;", told):
        floors = []
        for file, function in re.findall(r"`([\w/]+\.py):(\w+)`", branch):
            path = ROOT / "toolkit" / file
            names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
            assert function in names, f"{file} has no function {function}"
            floors.append(floor_of(module_name(path)))
        assert floors == sorted(floors, reverse=True), branch
        hops += len(floors)
    assert hops >= 15
