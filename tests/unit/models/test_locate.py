"""A model that was loaded once is found again without a network, whichever copy of it the engine took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.unit.launch.test_session import RTX_4090, asked, session
from tests.unit.vram.real_models import hub_config
from toolkit.backends.unsloth import UnslothBackend
from toolkit.compat import unsloth_names
from toolkit.errors import HubError, RunFolderError
from toolkit.models import locate
from toolkit.settings import ModelSettings

ASKED, COPY, BASE = (
    "Qwen/Qwen2.5-3B-Instruct",
    "unsloth/Qwen2.5-3B-Instruct-unsloth-bnb-4bit",
    "unsloth/Qwen2.5-3B-Instruct",
)
# What the tables of unsloth/models/mapper.py come to, which is a module without imports
MAPPER = f"""
FLOAT_TO_INT_MAPPER = {{"{ASKED.lower()}": "{COPY}", "qwen/qwen3-32b": "unsloth/Qwen3-32B-unsloth-bnb-4bit"}}
INT_TO_FLOAT_MAPPER = {{"{COPY.lower()}": "{BASE}"}}
MAP_TO_UNSLOTH_16bit = {{"{ASKED.lower()}": "{BASE}"}}
"""
EXCEPTIONS = """
BAD_MAPPINGS = {
    "unsloth/Qwen3-32B-unsloth-bnb-4bit".lower(): "unsloth/Qwen3-32B-bnb-4bit",  # 32B dynamic quant is way too big
}
"""


@pytest.fixture(autouse=True)
def offline_with_unsloth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "unsloth"
    (package / "models").mkdir(parents=True)
    (package / "models" / "mapper.py").write_text(MAPPER)
    (package / "models" / "loader_utils.py").write_text(EXCEPTIONS)
    monkeypatch.setattr(unsloth_names, "folder_of", lambda name: package)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    unsloth_names._tables.cache_clear()
    yield
    unsloth_names._tables.cache_clear()


def cache(tmp_path: Path, repository: str, **config: Any) -> None:
    folder = tmp_path / "cache" / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "config.json").write_text(json.dumps(config))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")


@pytest.mark.parametrize(
    ("model", "in_4bit", "weights"),
    [
        (ASKED, True, COPY),
        (ASKED, False, BASE),
        (COPY, True, COPY),
        (COPY, False, BASE),
        ("Qwen/Qwen3-32B", True, "unsloth/Qwen3-32B-bnb-4bit"),
        ("me/mine", True, "me/mine"),
    ],
)
def test_the_copy_that_unsloth_takes(model: str, in_4bit: bool, weights: str) -> None:
    assert UnslothBackend(RTX_4090).weights_of(ModelSettings(model=model, load_in_4bit=in_4bit)) == weights


def test_a_folder_has_no_copy(tmp_path: Path) -> None:
    assert UnslothBackend(RTX_4090).weights_of(ModelSettings(model=str(tmp_path))) == str(tmp_path)


@pytest.mark.parametrize("held", [ASKED, COPY])
def test_either_one_in_the_cache_will_do(held: str, tmp_path: Path) -> None:
    cache(tmp_path, held)
    assert locate(ASKED, COPY) == ASKED


def test_neither_is_one_line() -> None:
    with pytest.raises(HubError, match="not in the local cache"):
        locate(ASKED, COPY)


def test_the_plan_counts_what_the_copy_keeps_in_16_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned() -> Any:
        ours = session(asked(), RTX_4090)
        monkeypatch.setattr(ours, "backend", UnslothBackend(RTX_4090))
        ours.plan_memory()
        assert ours.run_plan is not None
        return ours.run_plan.plan

    without = planned()
    quantisation = {"load_in_4bit": True, "llm_int8_skip_modules": ["lm_head", "model.layers.2.mlp"]}
    cache(tmp_path, COPY, **hub_config("Qwen/Qwen2.5-3B"), quantization_config=quantisation)
    assert planned().shape.n_unquantised == 3 * 2048 * 11008
    assert planned().peak_phase.total_gib > without.peak_phase.total_gib


def of_a_merge(monkeypatch: pytest.MonkeyPatch) -> Any:
    ours = session(asked("--save", "merged_16bit"), RTX_4090)
    monkeypatch.setattr(ours, "backend", UnslothBackend(RTX_4090))
    return ours


def test_a_run_says_what_it_loads_and_what_it_fetches_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache(tmp_path, COPY)
    ours = of_a_merge(monkeypatch)
    assert ours.locate() == ASKED
    assert ours.introduction[-2:] == [
        f"weights: {COPY}, unsloth's own copy of {ASKED}",
        f"--save merged_16bit fetches {BASE} at the end",
    ]


def test_a_base_that_the_disk_cannot_take_stops_the_run_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache(tmp_path, COPY)
    monkeypatch.setattr("toolkit.runs.folder.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 2**30}))
    with pytest.raises(RunFolderError, match=r"1.00 GiB free; wanted at least 5.7\d GiB; .*--save adapter"):
        of_a_merge(monkeypatch).locate()
    cache(tmp_path, BASE)
    assert of_a_merge(monkeypatch).locate() == ASKED
