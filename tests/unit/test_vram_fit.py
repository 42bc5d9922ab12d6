"""`toolkit plan --fit`: the next larger size does not fit, no offer is beaten, and the preset is what was planned."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from tests.unit.vram_requests import CARDS, SHAPES, requests
from toolkit.settings import GrpoSettings
from toolkit.settings import check as check_settings
from toolkit.settings.batch import check_save_steps, solve
from toolkit.settings.parse import parse, read_yaml
from toolkit.vram.cards import Card, find_card
from toolkit.vram.catalog import find
from toolkit.vram.plan import make_plan
from toolkit.vram.request import Request, check
from toolkit.vram.run_plan import request_of
from toolkit.vram.search.growth import candidates, groups, limit_of, not_dominated, sizes, sizes_of
from toolkit.vram.search.scaling import passes_per_round
from toolkit.vram.shapes import Shape
from toolkit.vram.verdict import can_run, surely_fits

QWEN_3B, RTX_4090 = find("Qwen/Qwen2.5-3B-Instruct"), find_card("4090")


def toolkit_plan(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "toolkit", "plan", "--fit", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@settings(max_examples=40, deadline=None)
@given(requests(), SHAPES, CARDS)
def test_a_limit_fits_and_the_next_value_does_not(request: Request, shape: Shape, card: Card) -> None:
    for size in sizes(request, shape):
        limit = limit_of(size, request, shape, card)
        for plan, is_good in ((limit.largest, can_run), (limit.sure, surely_fits)):
            if plan is not None:
                check(plan.request)
                assert is_good(plan)
                assert plan == make_plan(size.apply(request, getattr(plan.request, size.name)), shape, card)
            n_tried = 0 if plan is None else size.values.index(getattr(plan.request, size.name)) + 1
            if n_tried < len(size.values):
                assert not is_good(make_plan(size.apply(request, size.values[n_tried]), shape, card)), size.name


@settings(max_examples=20, deadline=None)
@given(requests(), SHAPES, CARDS)
def test_no_offer_is_beaten_and_none_is_missing(request: Request, shape: Shape, card: Card) -> None:
    found = list(candidates(request, shape, card))
    kept = not_dominated(found)
    mine = [sizes_of(plan) for plan in kept]
    assert len(set(mine)) == len(mine)
    for other in map(sizes_of, found):
        beaten = [size for size in mine if size != other and all(a <= b for a, b in zip(size, other, strict=True))]
        assert not beaten
        assert any(all(a >= b for a, b in zip(size, other, strict=True)) for size in mine)


@settings(max_examples=20, deadline=None)
@given(requests(task="grpo"), SHAPES, CARDS)
def test_offers_keep_the_passes_and_the_prompts(request: Request, shape: Shape, card: Card) -> None:
    for plan in candidates(request, shape, card):
        check(plan.request)
        assert can_run(plan)
        assert passes_per_round(plan.request) == passes_per_round(request)
        run = plan.request
        assert run.n_rollouts // run.num_generations >= request.n_rollouts // request.num_generations


def test_groups_by_hand() -> None:
    request = Request(num_generations=8, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    assert groups(request, 4) == [2, 4, 8]  # of 16 completions, at least the 2 prompts asked for
    assert groups(request, 1) == [2]
    assert groups(replace(request, gradient_accumulation_steps=2), 1) == [2]


def test_the_offers_hold_the_limit_of_the_length() -> None:
    request = Request()
    longest = limit_of(sizes(request, QWEN_3B)[0], request, QWEN_3B, RTX_4090).largest
    assert longest is not None
    offers = [sizes_of(plan) for plan in candidates(request, QWEN_3B, RTX_4090)]
    assert sizes_of(longest) in offers


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
    done = toolkit_plan(*args, "--json", "--output", str(path))
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
    done = toolkit_plan("--gpu", "4090", "--model", str(file), "--output", str(preset))
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
    done = toolkit_plan(*args)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []
