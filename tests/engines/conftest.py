"""An engine's tests run in its own environment; in another's they are skipped, with the line that builds it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INSTALLED = {name for name in ("unsloth", "vllm") if importlib.util.find_spec(name)}
WANTED = {"test_unsloth_vllm": {"unsloth", "vllm"}, "test_unsloth": {"unsloth"}, "test_vllm": {"vllm"}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        wanted = next((names for stem, names in WANTED.items() if item.path.stem.startswith(stem)), None)
        if item.path.parent == HERE and wanted is not None and wanted != INSTALLED:
            line = f"tests/engines/make_env.sh {'-'.join(sorted(wanted))} FOLDER"
            item.add_marker(pytest.mark.skip(reason=f"not the environment of {line}"))
