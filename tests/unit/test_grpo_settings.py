"""Asked and in effect, side by side: every difference is found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from toolkit import runs
from toolkit.rewards import correct, format
from toolkit.settings import GrpoSettings, ModelSettings
from toolkit.training import Reward
from toolkit.training.grpo import config_fields, differences, effective_model_settings, effective_settings

SETTINGS = GrpoSettings(grpo={"loss_type": "dr_grpo"})
REWARDS = [Reward(correct), Reward(format, 0.25)]


def trainer_with(**changed: Any) -> Any:
    """What a trainer shows of itself, with some settings other than asked."""
    lora = SimpleNamespace(r=32, lora_alpha=64, lora_dropout=0.0, target_modules=set(ModelSettings().target_modules))
    model = torch.nn.Sequential()
    vars(model)["peft_config"] = {"default": lora}
    return SimpleNamespace(args=SimpleNamespace(use_vllm=False, **changed), model=model)


def compare(tmp_path: Path, **changed: Any) -> list[str]:
    run = runs.create("recipe", tmp_path / "run", {})
    fields = config_fields(SETTINGS, REWARDS, run, {})
    trainer = trainer_with(**{**fields, **changed})
    effective = effective_settings(trainer, fields) | effective_model_settings(trainer)
    run.update("settings.json", effective=effective | {"load_in_4bit": True})
    return [str(difference) for difference in differences(SETTINGS, run)]


def test_nothing_is_said_when_all_is_as_asked(tmp_path: Path) -> None:
    assert compare(tmp_path) == []


def test_a_batch_that_was_raised_is_said(tmp_path: Path) -> None:
    assert compare(tmp_path, per_device_train_batch_size=16, loss_type="dapo") == [
        "per_device_train_batch_size: asked 8, in effect 16",
        "loss_type: asked dr_grpo, in effect dapo",
    ]


def test_the_trainers_own_copy_counts_before_its_arguments() -> None:
    trainer = trainer_with(temperature=1.0)
    trainer.temperature = 0.7
    assert effective_settings(trainer, {"temperature": 1.0}) == {"temperature": 0.7}


def test_the_weights_of_the_rewards_reach_the_config(tmp_path: Path) -> None:
    run = runs.create("recipe", tmp_path / "run", {})
    assert config_fields(SETTINGS, REWARDS, run, {})["reward_weights"] == [1.0, 0.25]
    assert config_fields(SETTINGS, REWARDS, run, {"optim": "adamw_torch"})["optim"] == "adamw_torch"
