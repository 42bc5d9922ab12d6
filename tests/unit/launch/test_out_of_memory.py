"""A card that runs out of memory is told as that, whatever it is wrapped in, and nothing that was done is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.launch.test_session import RTX_4090, asked, session
from toolkit.errors import EXIT_BAD_INPUT, ModelError, SettingsError
from toolkit.launch import frame
from toolkit.settings import GrpoSettings
from toolkit.settings.parse import parse

TORCH = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.99 GiB\nSee documentation"
VLLM = "Free memory on device cuda:0 (3.1/23.5 GiB) on startup is less than desired GPU memory utilization (0.6)"


@pytest.mark.parametrize(
    ("error", "wraps"),
    [
        (ModelError("Qwen/Qwen2.5-3B-Instruct cannot be loaded"), RuntimeError(TORCH)),
        (SettingsError("TRL refuses the settings"), ValueError(VLLM)),
        (RuntimeError(TORCH), None),
    ],
    ids=["loading", "vLLM starts", "training"],
)
def test_one_line_says_what_was_planned_what_is_free_and_what_needs_less(
    error: Exception, wraps: Exception | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error.__cause__ = wraps
    ours = session(asked("--output_dir", str(tmp_path / "run")), RTX_4090)
    ours.plan_memory()
    with ours.open_run() as run:
        run.update("measurements.json", before={"pass_at_1": 0.25})
        assert ours.view is not None
        ours.view.phase("building the trainer")
    assert frame._end(error, ours, []) == EXIT_BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("out of GPU memory while building the trainer (")
    assert (VLLM[:40] if wraps and "utilization" in str(wraps) else TORCH[:40]) in line
    assert "GiB are free on NVIDIA GeForce RTX 4090" in line
    assert "planned were" in line
    flags = line.partition("wanted ")[2].partition("; ")[0].split()
    assert flags
    parse(GrpoSettings, flags)  # they are the recipe's own, not the planner's
    assert json.loads((tmp_path / "run" / "measurements.json").read_text()) == {"before": {"pass_at_1": 0.25}}


def test_another_error_of_the_set_up_still_leaves_nothing(tmp_path: Path) -> None:
    ours = session(asked("--output_dir", str(tmp_path / "run")), RTX_4090)
    with ours.open_run():
        pass
    assert frame._end(ModelError("no such layer"), ours, []) == EXIT_BAD_INPUT
    assert not (tmp_path / "run").exists()
