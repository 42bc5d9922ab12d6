"""Where the gate cannot check, it says so and stands open: no process holds a whole layer to move."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from toolkit import runs
from toolkit.settings import GrpoSettings, RolloutSettings
from toolkit.settings.resolved import Resolved
from toolkit.training import Assembly
from toolkit.training.parity.gate import open_gate

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}


def assembly() -> Assembly:
    args = SimpleNamespace(
        per_device_train_batch_size=8,
        gradient_accumulation_steps=4,
        steps_per_generation=4,
        world_size=2,
        num_iterations=1,
        bf16=False,
        fp16=False,
    )
    model: Any = torch.nn.Sequential()
    vars(model)["dtype"] = torch.float32
    trainer = SimpleNamespace(
        args=args, model=model, use_vllm=False, use_transformers_continuous_batching=False, num_generations=8
    )
    settings = GrpoSettings(rollout=RolloutSettings(parity="on"))
    return Assembly(trainer, Resolved.of(settings), {}, {}, [])


@pytest.mark.parametrize(
    ("environment", "opens"),
    [(FSDP, False), (DEEPSPEED, False), (DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, True), ({}, True)],
    ids=["FSDP 2", "ZeRO-3", "ZeRO-2", "DDP"],
)
def test_weights_that_are_split_are_not_moved(
    environment: dict[str, str], opens: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "2", **environment}.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    gate = open_gate(assembly(), runs.create("recipe", tmp_path / "run", {}), said.append)
    assert (gate is not None) is opens
    assert said == ([] if opens else ["parity is not checked: no process holds a whole layer to move"])
