"""What a reward's source says where its scores say nothing: the columns that it reads, and the tags that it looks for.

A hint, never a verdict on its own: code that cannot be read (a built-in, a lambda, an interactive session) is taken to
use whatever it names.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

_REPORTS = {"print", "debug", "info", "warning", "error", "log", "write", "pprint"}
"""Calls that show a value and judge nothing by it: notebooks print the gold answer beside each completion."""
_TAG = re.compile(r"</([A-Za-z][\w-]{1,30})>")
MAX_TAGS = 8
_NOT_AN_ANSWER = re.compile(r"think|reason|work|scratch|plan|step", re.IGNORECASE)


def uses(function: Callable[..., Any], name: str) -> bool:
    """Whether a parameter is read other than to be printed or logged; True where the code cannot be read."""
    tree = _tree(function)
    return tree is None or any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load) for node in _judging(tree)
    )


def looks_up(function: Callable[..., Any], key: str) -> bool:
    """Whether it takes a column out of its `**kwargs`: `kwargs["answer"]`, `kwargs.get("answer")`."""
    tree = _tree(function)
    return tree is not None and any(_key(node) == key for node in _judging(tree))


def layouts(function: Callable[..., Any]) -> tuple[str, ...]:
    """A template for each tag that is closed in the function or elsewhere in its module, the function's own first."""
    function = _plain(function)
    module = sys.modules.get(getattr(function, "__module__", ""))
    # The module, too: tags are often constants there, put together in an f-string
    tags = dict.fromkeys(_TAG.findall("\n".join(map(_source, (function, module)))))
    wanted = [tag for tag in tags if not _NOT_AN_ANSWER.search(tag)]
    return tuple(f"{{reasoning}}\n<{tag}>{{answer}}</{tag}>" for tag in wanted[:MAX_TAGS])


def behind(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a `functools.partial` is of; any other callable itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _plain(function: Callable[..., Any]) -> Any:
    """The code behind a partial, a decorator or an instance."""
    function = inspect.unwrap(behind(function))
    return function if hasattr(function, "__name__") else type(function).__call__


def _source(part: Any) -> str:
    try:
        return inspect.getsource(part)
    except (OSError, TypeError):
        return ""


def _tree(function: Callable[..., Any]) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(_source(_plain(function))) or "(")
    except (SyntaxError, ValueError):  # ValueError: a null byte
        return None


def _judging(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those inside calls that only report."""
    if isinstance(tree, ast.Call) and getattr(tree.func, "attr", getattr(tree.func, "id", "")) in _REPORTS:
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from _judging(child)


def _key(node: ast.AST) -> Any:
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("get", "pop") and node.args:
        return getattr(node.args[0], "value", None)
    return None
