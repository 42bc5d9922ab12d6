"""Model folders that are broken in the ways that folders break: one line, and no run left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recipes import harness
from toolkit.models import embedded


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def drop(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


BREAKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights cut off": (truncate, "cannot be loaded"),
    "no chat template": (drop("chat_template.jinja"), "has no chat template"),
    "no tokenizer": (drop("tokenizer.json", "tokenizer_config.json"), "model"),
}


@pytest.mark.parametrize(("damage", "said"), BREAKS.values(), ids=BREAKS.keys())
def test_a_broken_model_folder_is_one_line(damage: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    shutil.copytree(embedded.folder(), folder)
    damage(folder)
    arguments = ("--config", "embedded", "--model", folder, "--output_dir", tmp_path / "run")
    result = harness.run(*arguments, *harness.QUICK)
    assert result.returncode == 2, result.stderr
    assert said in result.error_lines()[-1]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
