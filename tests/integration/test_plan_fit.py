"""`toolkit plan --fit` as a process of its own, and the preset that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.commands import toolkit
from toolkit.settings import GrpoSettings
from toolkit.settings import check as check_settings
from toolkit.settings.batch import check_save_steps, solve
from toolkit.settings.parse import parse, read_yaml
from toolkit.vram.cards import find_card
from toolkit.vram.catalog import find
from toolkit.vram.mapping import request_of
from toolkit.vram.plan import make_plan


@pytest.mark.parametrize(
    ("args", "changed"),
    [
        (("--gpu", "4090"), {}),
        (
            ("--gpu", "3060", "--framework", "trl", "--generation", "hf", "--optim", "adamw_torch", "--beta", "0.04"),
            {"framework": "trl", "generation": "hf", "optim": "adamw_torch", "beta": 0.04},
        ),
        (
            ("--gpu", "a100-80gb", "--method", "lora", "--lora_targets", "q,v", "--lora_rank", "8", "--standby"),
            {"method": "lora", "lora_targets": "q,v", "lora_rank": 8, "standby": True},
        ),
        (
            ("--gpu", "T4", "--dtype", "fp16", "--steps_per_generation", "6", "--gradient_accumulation_steps", "2"),
            {"dtype": "fp16", "steps_per_generation": 6, "gradient_accumulation_steps": 2},
        ),
    ],
)
def test_a_preset_is_what_was_planned(args: tuple[str, ...], changed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "preset.yaml"
    done = toolkit("plan", "--fit", *args, "--json", "--output", str(path))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)["largest"]["max_completion_length"]
    promised = answer["surely_fits"] or answer["fits"]
    recipe = parse(GrpoSettings, [], [(str(path), read_yaml(path))])
    check_settings(recipe)
    check_save_steps(solve(recipe.rollout), recipe.record.save_steps)
    card = find_card(args[1])
    framework = "trl" if recipe.model.backend == "transformers" else "unsloth"
    request = request_of(recipe, has_bf16=card.is_ampere, framework=framework, has_vllm=True)
    for name, value in changed.items():
        if name != "lora_targets":
            assert getattr(request, name) == value, name
    plan = make_plan(request, find(request.model), card)
    assert request.max_completion_length == promised["max_completion_length"]
    assert plan.peak_process_gib == pytest.approx(promised["peak_process_gib"], abs=1e-4)
    heading = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"{plan.peak_process_gib:.2f} GiB" in " ".join(heading)
    assert next(iter(yaml.safe_load(path.read_text()))) == "model"


def test_a_local_model_is_named_by_its_folder(tmp_path: Path) -> None:
    config = {
        "model_type": "qwen2", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "vocab_size": 999,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
    }  # fmt: skip
    file, preset = tmp_path / "config.json", tmp_path / "preset.yaml"
    file.write_text(json.dumps(config))
    done = toolkit("plan", "--fit", "--gpu", "4090", "--model", str(file), "--output", str(preset))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(preset.read_text())["model"] == str(tmp_path)
    assert "1,536 (all)" in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "--fit without --gpu; wanted one card"),
        (("--gpu", "all"), "--gpu all without --table; wanted one card"),
        (("--gpu", "4090", "--output", "preset.json"), "wanted a name that ends in .yaml or .yml"),
        (("--gpu", "4090", "--output", "no/where.yaml"), "--output no/where.yaml cannot be written"),
        (("--gpu", "4090", "--attention", "eager", "--output", "preset.yaml"), "cannot say --attention eager"),
        (("--gpu", "4090", "--method", "full", "--output", "preset.yaml"), "cannot say --method full"),
        (("--gpu", "4090", "--task", "sft", "--output", "preset.yaml"), "cannot say --task sft"),
        (("--gpu", "8", "--model", "Qwen/Qwen2.5-32B", "--output", "preset.yaml"), "no max_completion_length fits"),
        (
            ("--gpu", "4090", "--steps_per_generation", "3", "--gradient_accumulation_steps", "2", "--output", "p.yml",
             "--num_generations", "6", "--per_device_train_batch_size", "6"),
            "one a multiple of the other",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_no_file(
    args: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = toolkit("plan", "--fit", *args)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []
