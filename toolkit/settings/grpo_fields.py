"""Names and types of GRPOConfig's fields, read from the installed sources without importing them.

Importing TRL takes seconds and torch; a misspelled name should cost neither.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

from toolkit.errors import ContractError

_ANNOTATION_NAMES = {"Any": Any, "bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict}

# Fields that Unsloth's rewritten GRPOConfig adds to TRL's
UNSLOTH_GRPO_FIELDS = {"unsloth_grpo_mini_batch": int | None, "unsloth_logit_chunk_multiplier": int | None}


def grpo_fields() -> dict[str, Any]:
    """Name and type of every GRPOConfig field, read from the installed sources without importing them.

    Importing TRL takes seconds and torch; a misspelled name should cost neither.

    Raises:
        ContractError: TRL is not installed, or its sources are laid out in another way.
    """
    sources = (
        ("transformers", "training_args.py", "TrainingArguments"),
        ("trl", "trainer/base_config.py", "_BaseConfig"),
        ("trl", "trainer/grpo_config.py", "GRPOConfig"),
    )
    found: dict[str, Any] = {}
    for package, file, cls in sources:
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / file if spec and spec.origin else None
        if path is None or not path.exists():
            raise ContractError(f"{package}/{file} is not installed", "the tested versions", "run: toolkit doctor")
        found |= _class_fields(path, cls)
    return found | UNSLOTH_GRPO_FIELDS


def _class_fields(path: Path, cls: str) -> dict[str, Any]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            declared = [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
            return {
                n.target.id: _annotation(ast.unparse(n.annotation)) for n in declared if isinstance(n.target, ast.Name)
            }
    raise ContractError(f"{path.name} has no class {cls}", "the tested versions", "run: toolkit doctor")


def _annotation(source: str) -> Any:
    """The declared type where it is made of builtins; `str` where it names another class."""
    source = ast.literal_eval(source) if source.startswith(("'", '"')) else source
    try:
        value = eval(source, {"__builtins__": {}}, dict(_ANNOTATION_NAMES))  # noqa: S307 (an installed package's own annotation)
    except (NameError, TypeError, SyntaxError, AttributeError):
        return str
    return value
