"""What a name means: the settings of its run, under what was asked for, without loading anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import SettingsError
from toolkit.launch import named, opened
from toolkit.launch.named import Named
from toolkit.settings import DataSettings, flatten

REQUESTED = {
    "model": "embedded",
    "load_in_4bit": False,
    "dataset": "arithmetic",
    "n_eval": 64,
    "prompt_style": "boxed",
    "system_prompt": "Be brief, see notes.txt",
    "examples": "2",
    "seed": 7,
    "max_completion_length": 99,
    "grpo": {"max_grad_norm": 0.5},
    "correct_weight": 2.0,  # the recipe's own
    "resume": None,
    "push_to_hub": "me/model",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run-1"
    for place in (folder / "adapter", folder / "merged_16bit"):
        place.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"requested": REQUESTED, "given": ["seed"]}))
    (folder / "adapter" / "adapter_model.safetensors").touch()
    lora = {
        "base_model_name_or_path": "/elsewhere/embedded_qwen3",
        "r": 4,
        "lora_alpha": 9,
        "target_modules": ["q_proj"],
    }
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(lora))
    (folder / "merged_16bit" / "config.json").write_text("{}")
    return folder


def find(name: Path | str, **changes: Any) -> Named:
    return named.find(str(name), changes, [], "no card")


def test_a_run_is_asked_as_it_was_trained(run: Path) -> None:
    found = find(run)
    flat = flatten(found.settings)
    assert {name: flat[name] for name in REQUESTED if name in flat and name != "push_to_hub"} == {
        name: value for name, value in REQUESTED.items() if name not in ("correct_weight", "push_to_hub")
    }
    assert flat["push_to_hub"] is None
    assert (found.kind, found.label, found.adapter, found.given) == ("run", "run-1", run / "adapter", {"seed"})


def test_what_is_asked_for_wins_and_files_are_read_once(run: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Think twice.")
    data = find(run, system_prompt=str(tmp_path / "words.txt"), examples="0", prompt_style="r1").settings.data
    assert (data.system_prompt, data.examples, data.prompt_style, data.n_eval) == ("Think twice.", None, "r1", 64)
    with pytest.raises(SettingsError, match="did you mean"):
        find(run, prompt_stile="r1")


def test_an_adapter_and_a_merged_model_belong_to_the_run_around_them(run: Path, tmp_path: Path) -> None:
    adapter, merged = find(run / "adapter"), find(run / "merged_16bit")
    assert (adapter.kind, adapter.run, adapter.settings.data.n_eval) == ("adapter", run, 64)
    assert (adapter.settings.model.lora_rank, adapter.settings.model.target_modules) == (4, ("q_proj",))
    assert (merged.kind, merged.run, merged.adapter) == ("model", run, None)
    assert merged.settings.model.model == str(run / "merged_16bit")
    alone = tmp_path / "alone"
    (run / "adapter").rename(alone)
    found = find(alone)
    assert (found.run, found.settings.model.model, found.settings.data.dataset) == (None, "embedded", "arithmetic")


def test_the_dataset_is_divided_as_the_run_divided_it() -> None:
    def divided(of_run: DataSettings | None, n_eval: int | None, hidden: bool) -> tuple[int, int]:
        data = opened._divided(of_run or DataSettings(), of_run, n_eval, hidden)
        return data.n_eval, data.n_hidden

    of_run = DataSettings(n_eval=64)
    assert divided(of_run, 8, False) == (64, 0)  # the first 8 of the 64
    assert divided(of_run, 100, False) == (100, 0)
    assert divided(of_run, 8, True) == (64, 8)  # none of the 64 is hidden
    assert divided(DataSettings(n_eval=64, n_hidden=5), 8, True) == (64, 5)
    assert divided(None, 8, False) == (256, 0)
    assert divided(None, 300, True) == (256, 300)
