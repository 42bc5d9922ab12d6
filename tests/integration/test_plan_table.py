"""`toolkit plan --table` as a process of its own, and the files that it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.commands import toolkit
from toolkit.vram.views.table import COMMON_CARDS


@pytest.mark.parametrize("suffix", [".md", ".csv", ".png"])
def test_a_file_is_written_whole_and_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{suffix}"
    done = toolkit("plan", "--table", "--gpu", "4090", "--output", str(path))
    assert (done.returncode, done.stdout) == (0, f"wrote {path}\n")
    assert list(tmp_path.iterdir()) == [path]
    starts = {".md": b"### Qwen/Qwen2.5-3B-Instruct on RTX 4090", ".csv": b"model,gpu,", ".png": b"\x89PNG"}
    assert path.read_bytes().startswith(starts[suffix])


def test_an_older_file_is_replaced_and_not_written_into(tmp_path: Path) -> None:
    path, other_name = tmp_path / "table.csv", tmp_path / "other.csv"
    path.write_text("old")
    other_name.hardlink_to(path)  # who reads the old file while the new one is written
    assert toolkit("plan", "--table", "--output", str(path)).returncode == 0
    assert path.read_text().startswith("model,")
    assert other_name.read_text() == "old"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder.md"
    path.mkdir()
    done = toolkit("plan", "--table", "--output", str(path))
    assert done.returncode == 2
    assert f"--output {path} cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("gpu", [(), ("--gpu", "all")])
def test_without_a_card_it_is_about_the_common_ones(gpu: tuple[str, ...]) -> None:
    answer = json.loads(toolkit("plan", "--table", *gpu, "--json").stdout)
    assert answer["gpu"] is None
    assert {cell["gpu"] for cell in answer["cells"]} == set(COMMON_CARDS)


def test_neither_numpy_nor_matplotlib_is_loaded_for_text() -> None:
    code = "import sys; from toolkit.cli import main; main(['plan', '--table', '--gpu', '4090']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("### Qwen/")
    assert {"torch", "numpy", "matplotlib"} & set(done.stdout.splitlines()[-1].split()) == set()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--output", "table.txt"), "wanted a name that ends in .md, .csv, .png"),
        (("--max_prompt_length", "32768"), "leaves 0 of the 32768 positions"),
        (("--gpu", "4095"), "did you mean"),
    ],
)
def test_bad_input_is_one_line(args: tuple[str, ...], said: str) -> None:
    done = toolkit("plan", "--table", *args)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
