"""Read tests that are Python text: which names they take from the code, and where they assert.

A test is one assertion (`assert f(2) == 4`) or some statements with assertions among them. The names that it uses and
does not define are the code's: the tests' process gets stand-ins for them (`inside/judge.py`).
"""

from __future__ import annotations

import ast
import builtins
import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache

from toolkit.errors import DataError

MARK = "__assertion_reached__"
MAX_CHARS = 100_000
"""A longer test is a file that got into the wrong column."""


@dataclass(frozen=True)
class Assertions:
    """One test, ready to run."""

    source: str
    """With a call of `MARK` before each assertion, so that a test that asserts nothing is seen."""
    names: tuple[str, ...]
    """What the code must define."""
    modules: tuple[str, ...]
    """Modules of the standard library that it uses without an import (`math.isclose(...)`)."""


@lru_cache(maxsize=256)
def read(tests: tuple[str, ...]) -> tuple[Assertions, ...]:
    """Read the tests of one row.

    Where no test names anything but built-in functions, these are taken to be the code's (`assert sum(10, 15) == 6`
    tests a function that is called `sum`).

    Raises:
        DataError: a test is no Python, has no assertion, or names nothing that the code could define.
    """
    trees = [_parsed(number, test) for number, test in enumerate(tests, 1)]
    free = [_free_names(tree) for tree in trees]
    known = set(dir(builtins))
    own = [names - known - modules for names, modules in free]
    if not any(own):
        own = [names & _called_names(tree) for tree, (names, _) in zip(trees, free, strict=True)]
    found = []
    for number, (tree, (_, modules), names) in enumerate(zip(trees, free, own, strict=True), 1):
        if not names:
            raise DataError(f"test {number} names nothing of the code", "a call of a function that the code defines")
        source = ast.unparse(ast.fix_missing_locations(_Marked().visit(tree)))
        found.append(Assertions(source, tuple(sorted(names)), tuple(sorted(modules - names))))
    return tuple(found)


def _parsed(number: int, test: str) -> ast.Module:
    if len(test) > MAX_CHARS:
        raise DataError(f"test {number} has {len(test):,} characters", f"at most {MAX_CHARS:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(test.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"test {number} is no Python: {error}", "`assert f(2) == 4`") from error
    if not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        raise DataError(f"test {number} has no assertion", "`assert f(2) == 4`")
    return tree


def _free_names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Names that the test uses and does not bind anywhere; and which of them are modules of the standard library."""
    used: set[str] = set()
    bound: set[str] = set()
    with_attribute: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            with_attribute.add(node.value.id)
    free = used - bound
    return free, free & with_attribute & sys.stdlib_module_names - _called_names(tree)


def _called_names(tree: ast.Module) -> set[str]:
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


class _Marked(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        return [ast.Expr(ast.Call(ast.Name(MARK, ast.Load()), [], [])), node]
