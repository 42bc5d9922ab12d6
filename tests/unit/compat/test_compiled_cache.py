"""Code that Unsloth generated for other versions never reaches a run; everything else in the folder stays."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from toolkit.compat import compiled_cache
from toolkit.compat.compiled_cache import KEEP_DAYS, STAMP, clear_stale, folder_for_these_versions, made_with

NOW = {"unsloth": "2026.10.9", "unsloth_zoo": "2026.10.9", "trl": "1.15.0", "transformers": "5.17.0", "torch": "2.13.0"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """These versions, and a home of its own."""
    monkeypatch.setattr(compiled_cache, "versions_now", lambda: NOW)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))


def generate(folder: Path, name: str = "UnslothGRPOTrainer.py", **other: str) -> Path:
    """A file with the head that Unsloth writes."""
    folder.mkdir(parents=True, exist_ok=True)
    made = NOW | other
    head = "\n".join(made[package] for package in compiled_cache.IN_HEAD)
    (folder / name).write_text(f'"""\n{head}\n__UNSLOTH_VERSIONING__\n"""\nx = 1\n')
    return folder / name


def test_the_head_of_a_generated_file_is_read(tmp_path: Path) -> None:
    made = made_with(generate(tmp_path, trl="1.14.0"))
    assert made == {"unsloth_zoo": "2026.10.9", "unsloth": "2026.10.9", "transformers": "5.17.0", "trl": "1.14.0"}
    (tmp_path / "mine.py").write_text("print(1)\n")
    assert made_with(tmp_path / "mine.py") == {}


@pytest.mark.parametrize("package", compiled_cache.IN_HEAD)
def test_a_file_of_another_version_is_removed_and_said(tmp_path: Path, package: str) -> None:
    stale = generate(tmp_path, **{package: "0.1"})
    fresh, own = generate(tmp_path, "UnslothSFTTrainer.py"), tmp_path / "my_model.py"
    own.write_text("x = 1\n")
    assert clear_stale(tmp_path) == [f"compiled cache: 1 file of other versions removed from {tmp_path}"]
    assert (stale.exists(), fresh.exists(), own.exists()) == (False, True, True)
    assert json.loads((tmp_path / STAMP).read_text()) == NOW
    assert clear_stale(tmp_path) == []


def test_another_torch_which_no_head_names_clears_all(tmp_path: Path) -> None:
    path = generate(tmp_path)
    (tmp_path / STAMP).write_text(json.dumps(NOW | {"torch": "2.11.0"}))
    assert clear_stale(tmp_path) == [f"compiled cache: 1 file of other versions removed from {tmp_path}"]
    assert not path.exists()


def test_two_environments_have_a_folder_each(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = folder_for_these_versions()
    clear_stale(ours)
    path = generate(ours)
    monkeypatch.setattr(compiled_cache, "versions_now", lambda: NOW | {"trl": "1.14.0"})
    assert folder_for_these_versions() != ours
    clear_stale(folder_for_these_versions())
    assert path.exists()


def test_folders_that_no_run_uses_any_more_go() -> None:
    recent, old = (compiled_cache.root() / name for name in ("recent", "old"))
    for folder, days in ((recent, KEEP_DAYS - 1), (old, KEEP_DAYS + 1)):
        generate(folder)
        (folder / STAMP).write_text("{}")
        used = time.time() - days * 86400
        os.utime(folder / STAMP, (used, used))
    clear_stale(folder_for_these_versions())
    assert recent.exists()
    assert not old.exists()


def test_a_users_own_folder_has_neighbours_that_stay(tmp_path: Path) -> None:
    neighbour = tmp_path / "theirs" / "notes"
    neighbour.mkdir(parents=True)
    os.utime(neighbour, (0, 0))
    clear_stale(tmp_path / "theirs" / "cache")
    assert neighbour.exists()


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (line,) = clear_stale(tmp_path / "file")
    assert line.startswith("compiled cache: ")
    assert "so Unsloth takes a temporary folder" in line
