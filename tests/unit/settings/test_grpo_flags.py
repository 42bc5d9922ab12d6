"""Asked and in effect, side by side: every difference is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from toolkit import runs
from toolkit.rewards import correct, format
from toolkit.settings import GrpoSettings, ModelSettings
from toolkit.settings.resolved import Resolved
from toolkit.training import Reward
from toolkit.training.engine_defaults import plain
from toolkit.training.grpo import Assembly, config_fields, effective_model_settings, effective_settings
from toolkit.training.notices import differences

SETTINGS = GrpoSettings(grpo={"loss_type": "dr_grpo"})
REWARDS = [Reward(correct), Reward(format, 0.25)]


def trainer_with(**changed: Any) -> Any:
    """What a trainer shows of itself, with some settings other than asked."""
    lora = SimpleNamespace(r=32, lora_alpha=64, lora_dropout=0.0, target_modules=set(ModelSettings().target_modules))
    model = torch.nn.Sequential()
    vars(model)["peft_config"] = {"default": lora}
    return SimpleNamespace(args=SimpleNamespace(use_vllm=False, **changed), model=model)


CARD = {"use_cpu": False}


def assembly(settings: GrpoSettings, fields: dict[str, Any], effective: dict[str, Any]) -> Assembly:
    return Assembly(None, Resolved.of(settings), {name: plain(v) for name, v in fields.items()}, effective, [])


def compare(tmp_path: Path, **changed: Any) -> list[str]:
    run = runs.create("recipe", tmp_path / "run", {})
    fields = config_fields(Resolved.of(SETTINGS), REWARDS, run, CARD)
    trainer = trainer_with(**{**fields, **changed})
    effective = effective_settings(trainer, fields) | effective_model_settings(trainer) | {"load_in_4bit": True}
    return list(map(str, differences(assembly(SETTINGS, fields, effective))))


def test_nothing_is_said_when_all_is_as_asked(tmp_path: Path) -> None:
    assert compare(tmp_path) == []


def test_a_batch_that_was_raised_is_said(tmp_path: Path) -> None:
    assert compare(tmp_path, per_device_train_batch_size=16, loss_type="dapo") == [
        "per_device_train_batch_size: asked 8, in effect 16",
        "loss_type: asked dr_grpo, in effect dapo",
    ]


@pytest.mark.parametrize(
    ("requested", "effective", "said"),
    [
        ({"optim": "adamw_torch"}, {"optim": "adamw_torch_fused"}, []),
        ({"optim": "adafactor"}, {"optim": "adamw_torch"}, ["optim: asked adafactor, in effect adamw_torch"]),
        ({"report_to": "none"}, {"report_to": []}, []),
        ({"report_to": "wandb"}, {"report_to": []}, ["report_to: asked wandb, in effect nothing"]),
        ({"generation_kwargs": {"top_p": 0.9}}, {"generation_kwargs": {"top_p": 0.9, "top_k": 0}}, []),
        (
            {"generation_kwargs": {"top_p": 0.9, "stop": "x"}},
            {"generation_kwargs": {"top_p": 1.0}},
            ["generation_kwargs.top_p: asked 0.9, in effect 1.0", "generation_kwargs.stop: asked x, in effect nothing"],
        ),
    ],
)  # fmt: skip
def test_another_spelling_is_no_difference(
    requested: dict[str, Any], effective: dict[str, Any], said: list[str]
) -> None:
    asked = replace(SETTINGS, grpo=requested)
    assert list(map(str, differences(assembly(asked, {}, effective)))) == said


def test_the_trainers_own_copy_counts_before_its_arguments() -> None:
    trainer = trainer_with(temperature=1.0)
    trainer.temperature = 0.7
    assert effective_settings(trainer, {"temperature": 1.0}) == {"temperature": 0.7}


def test_the_weights_of_the_rewards_reach_the_config(tmp_path: Path) -> None:
    run = runs.create("recipe", tmp_path / "run", {})
    assert config_fields(Resolved.of(SETTINGS), REWARDS, run, CARD)["reward_weights"] == [1.0, 0.25]


def test_a_device_wins_over_a_setting_and_a_grpo_field_over_both(tmp_path: Path) -> None:
    run = runs.create("recipe", tmp_path / "run", {})
    asked = replace(SETTINGS, grpo={"report_to": "tensorboard", "dataloader_pin_memory": False})
    of_device = CARD | {"warmup_steps": 7, "dataloader_pin_memory": True}
    fields = config_fields(Resolved.of(asked), REWARDS, run, of_device)
    assert (fields["warmup_steps"], fields["report_to"], fields["dataloader_pin_memory"]) == (7, "tensorboard", False)
