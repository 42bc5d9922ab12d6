"""The planner computes and its views draw; what prints is the command."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.paths import ROOT

VRAM = ROOT / "toolkit" / "vram"
DRAWING = ("rich", "matplotlib", "toolkit.display")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_only_views_draw_and_none_prints() -> None:
    files = sorted(VRAM.rglob("*.py"))
    assert len(files) > 30
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        drawing = [name for name in imports(tree) if name.startswith(DRAWING)]
        if path.parent == VRAM / "views":
            drawing = [name for name in drawing if name.startswith("toolkit.display.console")]
        assert drawing == [], path
        called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        assert not any(isinstance(function, ast.Name) and function.id == "print" for function in called), path
