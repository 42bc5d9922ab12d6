"""Models that an earlier download left in the Hub's cache, found by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.vram.real_models import hub_config

OFFLINE = """
import socket, sys
def refuse(*_): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from toolkit.vram.catalog import find
print(find(sys.argv[1]).parameters(), *sorted({"torch", "transformers", "numpy"} & set(sys.modules)))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub lays it out: refs, blobs, and snapshots that link into the blobs."""
    repository = tmp_path / "models--Acme--Own-Model"
    for folder in ("refs", "blobs", f"snapshots/{'0' * 40}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "blobs" / "1").write_text(json.dumps(hub_config("Qwen/Qwen3-0.6B")))
    (repository / "snapshots" / ("0" * 40) / "config.json").symlink_to("../../blobs/1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))  # for subprocesses: huggingface_hub reads it when imported
    return repository


def found_by_a_fresh_process(model: str) -> str:
    run = [sys.executable, "-c", OFFLINE, model]
    done = subprocess.run(run, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "0"}, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_a_model_in_the_cache_is_found_without_torch_and_without_the_network(cache: Path) -> None:
    assert found_by_a_fresh_process("Acme/Own-Model") == "596049920"


def test_a_model_of_the_table_is_not_looked_for_in_the_cache(cache: Path) -> None:
    cache.rename(cache.with_name("models--Qwen--Qwen3-4B"))
    assert found_by_a_fresh_process("Qwen/Qwen3-4B") == "4022468096"


@pytest.mark.parametrize("model", ["Acme/Other-Model", "Acme/own..model"])
def test_a_model_that_is_not_in_the_cache_is_unknown(cache: Path, model: str) -> None:
    assert f"unknown model '{model}'" in found_by_a_fresh_process(model)
