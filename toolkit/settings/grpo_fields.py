"""What TRL's GRPOConfig takes, read from the installed sources: importing TRL takes seconds and torch.

A misspelled name should cost neither. Each function raises ContractError where a package is not installed, or its
sources are laid out in another way.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import ContractError

_ANNOTATION_NAMES = {"Any": Any, "bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict}

# Fields that Unsloth's rewritten GRPOConfig adds to TRL's
UNSLOTH_GRPO_FIELDS = {"unsloth_grpo_mini_batch": int | None, "unsloth_logit_chunk_multiplier": int | None}


def grpo_fields() -> dict[str, Any]:
    """Name and type of every GRPOConfig field."""
    sources = (
        ("transformers", "training_args.py", "TrainingArguments"),
        ("trl", "trainer/base_config.py", "_BaseConfig"),
        ("trl", "trainer/grpo_config.py", "GRPOConfig"),
    )
    found: dict[str, Any] = {}
    for package, file, cls in sources:
        for node in _body_of(package, file, cls):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = _annotation(ast.unparse(node.annotation))
    return found | UNSLOTH_GRPO_FIELDS


def names_of(setting: Literal["optim", "lr_scheduler_type"]) -> list[str]:
    """What transformers takes for this setting."""
    places = {
        "optim": ("training_args.py", "OptimizerNames"),
        "lr_scheduler_type": ("trainer_utils.py", "SchedulerType"),
    }
    values = (node.value for node in _body_of("transformers", *places[setting]) if isinstance(node, ast.Assign))
    return [str(value.value) for value in values if isinstance(value, ast.Constant)]


def _body_of(package: str, file: str, cls: str) -> list[ast.stmt]:
    """The statements of a class in an installed package."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.exists():
        raise ContractError(f"{package}/{file} is not installed", "the tested versions", "run: toolkit doctor")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            return node.body
    raise ContractError(f"{path.name} has no class {cls}", "the tested versions", "run: toolkit doctor")


def _annotation(source: str) -> Any:
    """The declared type where it is made of builtins; `str` where it names another class."""
    source = ast.literal_eval(source) if source.startswith(("'", '"')) else source
    try:
        value = eval(source, {"__builtins__": {}}, dict(_ANNOTATION_NAMES))  # noqa: S307 (an installed package's own annotation)
    except (NameError, TypeError, SyntaxError, AttributeError):
        return str
    return value
