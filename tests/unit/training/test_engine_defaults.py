"""What an engine sets otherwise than TRL: found against TRL's own GRPOConfig, and said only where it matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolkit.training.engine_defaults import EngineDefault, arguments_of_trl, engine_defaults, that_matter


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "num_generations": 4,
        "per_device_train_batch_size": 4, "weight_decay": 0.1,
    }  # fmt: skip


def engines_config() -> type:
    """A class in the place of TRL's, as Unsloth's is: the same name, other defaults, one value overruled."""
    import trl.trainer.grpo_config

    OfTrl: Any = trl.trainer.grpo_config.GRPOConfig

    def __init__(self: Any, vllm_sampling_params: Any = None, **given: Any) -> None:
        defaults = {"max_grad_norm": 0.5, "logging_nan_inf_filter": False, "vllm_importance_sampling_correction": False}
        OfTrl.__init__(self, **(defaults | {"router_aux_loss_coef": 0.0} | given | {"weight_decay": 0.2}))

    return type("GRPOConfig", (OfTrl,), {"__init__": __init__})


def test_only_what_was_not_asked_for_and_is_another_value_is_found(asked: dict[str, Any]) -> None:
    cls = engines_config()
    found = engine_defaults(arguments_of_trl(cls, asked | {"vllm_sampling_params": None}), cls(**asked), asked)
    by_name = {default.name: (default.of_trl, default.effective) for default in found}
    assert by_name == {
        "max_grad_norm": (1.0, 0.5),
        "logging_nan_inf_filter": (True, False),
        "vllm_importance_sampling_correction": (True, False),
        "router_aux_loss_coef": (None, 0.0),
    }
    assert [d.name for d in that_matter(found, use_vllm=False, has_experts=False)] == ["max_grad_norm"]
    assert len(that_matter(found, use_vllm=True, has_experts=False)) == 2


def test_trls_own_config_leaves_nothing_to_say(asked: dict[str, Any]) -> None:
    from trl.trainer.grpo_config import GRPOConfig

    assert arguments_of_trl(GRPOConfig, asked) is None
    assert engine_defaults(None, GRPOConfig(**asked), asked) == []


def test_a_batch_that_trl_refuses_leaves_nothing_to_compare_with(asked: dict[str, Any]) -> None:
    assert arguments_of_trl(engines_config(), asked | {"per_device_train_batch_size": 3}) is None


def test_the_router_of_a_mixture_of_experts_matters_even_when_trl_says_nothing() -> None:
    default = EngineDefault("router_aux_loss_coef", 0.001, 0.0)
    assert that_matter([default], use_vllm=False, has_experts=True) == [default]
    assert str(default) == "router_aux_loss_coef 0.0 (TRL: 0.001)"
