"""Model folders that are broken in the ways that folders break: one line, and no run left behind.

And one that is only unlike the embedded one.
"""

from __future__ import annotations

import json
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


def refuse(folder: Path, role: str) -> None:
    template = folder / "chat_template.jinja"
    refusal = "{% if messages[0].role == 'ROLE' %}{{ raise_exception('no ROLE role') }}{% endif %}"
    template.write_text(refusal.replace("ROLE", role) + template.read_text())


def refuse_every_message(folder: Path) -> None:
    refuse(folder, "system")
    refuse(folder, "user")


BREAKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights cut off": (truncate, "cannot be loaded"),
    "no chat template": (drop("chat_template.jinja"), "has no chat template"),
    "no role": (refuse_every_message, "refuses the prompt (no user role); wanted one that takes a user message"),
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


def test_a_tokenizer_without_a_padding_token_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(embedded.folder(), folder)
    for file in ("config.json", "generation_config.json", "tokenizer_config.json"):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({k: v for k, v in content.items() if not k.startswith("pad_token")}))
    arguments = ("--config", "embedded", "--model", folder, "--max_steps", "1")
    ours = harness.run(*arguments, "--output_dir", tmp_path / "run", *harness.QUICK)
    assert ours.returncode == 0, ours.stderr
    theirs = harness.run("--max_steps", "1", "--output_dir", tmp_path / "whole", *harness.QUICK)
    assert theirs.returncode == 0, theirs.stderr
    for name in ("before", "step_00001"):
        texts = [[row["completion"] for row in harness.completions(tmp_path / run, name)] for run in ("run", "whole")]
        assert texts[0] == texts[1]


def test_a_model_without_a_system_role_is_asked_in_the_first_question(tmp_path: Path) -> None:
    """As Gemma 2, whose template raises; examples are turns in front of it."""
    folder = tmp_path / "model"
    shutil.copytree(embedded.folder(), folder)
    refuse(folder, "system")
    arguments = ("--config", "embedded", "--model", folder, "--examples", "1", "--max_steps", "1")
    done = harness.run(*arguments, "--output_dir", tmp_path / "run", *harness.QUICK)
    assert done.returncode == 0, done.stderr
    assert "prompt: style r1, 1 example as turns" in done.stdout
    assert "takes no system message: its text stands before the first question" in done.stdout
