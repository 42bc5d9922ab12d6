"""The parity check on real trainers: what is well is green, and every fault is caught with its cause.

The trainer is the one of `build_trainer` on the embedded model; the sampler is transformers in this process, or a
second model behind TRL's own vLLM code (`second_engine`). Real vLLM and Unsloth: tests/engines.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.grpo_trainer import GRPOTrainer

from tests.integration.parity_trainer import build
from tests.integration.second_engine import Load, install
from toolkit.compat import trl as trl_compat
from toolkit.compat.vllm import ITERATE, sync_from_copies
from toolkit.models import embedded
from toolkit.settings import ALL_LINEAR
from toolkit.training.grpo import CACHE_ON_A_CPU
from toolkit.training.parity import Check, check_parity
from toolkit.training.parity.judgement import ALL, AS_IT_IS, Cause
from toolkit.training.parity.sample import sample

SOURCE = str(embedded.folder())


PARTS = ("q_proj", "gate_proj", "up_proj")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Some layers only: a check costs so much a layer name."""
    return build(tmp_path_factory.mktemp("parity") / "run", "--target_modules", *PARTS).trainer


@pytest.fixture
def trainer(built: Any) -> Iterator[Any]:
    yield built
    built.use_vllm = False
    for name, parameter in built.model.named_parameters():
        parameter.requires_grad_("lora_" in name)


@pytest.fixture(scope="module")
def base() -> dict[str, torch.Tensor]:
    from transformers import AutoModelForCausalLM

    return dict(AutoModelForCausalLM.from_pretrained(SOURCE, dtype=torch.float32).named_parameters())


def test_the_methods_of_trl_that_a_check_calls_are_what_they_were() -> None:
    sample = list(inspect.signature(getattr(GRPOTrainer, trl_compat.SAMPLE)).parameters)
    score = list(inspect.signature(getattr(GRPOTrainer, trl_compat.SCORE)).parameters)
    assert sample[:5] == ["self", "prompt_ids", "images", "multimodal_fields", "num_generations"]
    assert score[:6] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"]
    assert list(inspect.signature(getattr(GRPOTrainer, trl_compat.TOKENIZE)).parameters) == ["self", "prompts"]
    assert list(inspect.signature(getattr(GRPOTrainer, trl_compat.SAVE_CHECKPOINT)).parameters)[1:] == [
        "model",
        "trial",
    ]


def run_check(trainer: Any, **options: Any) -> Check:
    return check_parity(trainer, trainer.train_dataset[:6]["prompt"], **options)


def test_the_trainers_own_generate_is_green(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a temperature other than 1, which both divide by; that `top_p` cuts the tail off was asked for."""
    trainer = build(tmp_path / "run", "--temperature", "1.3", "--grpo.top_p", "0.8").trainer
    result = run_check(trainer)
    assert result.finding.level == "green"
    assert result.situation.sampler == "generate"
    assert [p.part for p in result.probes] == [AS_IT_IS, *ALL_LINEAR, ALL]
    assert all(p.applied == pytest.approx(1, abs=1e-3) and p.effect > 0.005 for p in result.probes[1:])
    assert all(p.noise_mean < 1e-5 for p in result.probes)
    assert all(p.n_tokens > 100 for p in result.probes)
    monkeypatch.setattr("toolkit.training.parity.sample.MAX_TOKENS", 4)
    assert [len(ids) for ids in sample(trainer, result.reference.prompt_ids).completion_ids] == [4] * 6


def test_continuous_batching_is_green(tmp_path: Path) -> None:
    trainer = build(tmp_path / "run", "--grpo.use_transformers_continuous_batching", "true").trainer
    config = trainer.continuous_batching_config
    of_the_run = vars(config).copy()
    assert config.num_blocks == CACHE_ON_A_CPU["num_blocks"]
    result = run_check(trainer, every_part=False)
    assert result.finding.level == "green"
    assert result.situation.sampler == "continuous batching"
    assert result.probes[-1].applied == pytest.approx(1, abs=1e-3)
    assert trainer.continuous_batching_config is config
    assert vars(config) == of_the_run


def scaled(factor: float, base: dict[str, torch.Tensor]) -> Load:
    return lambda name, weight: base[name] + factor * (weight - base[name])


def without(part: str) -> Load:
    return lambda name, weight: None if part in name else weight


def never(name: str, weight: torch.Tensor) -> None:
    return None


def corrupting(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Scale in place what the trainer hands over, which is its own memory (unsloth-zoo#941)."""
    taken = weight.clone()
    if "up_proj" in name:
        weight.mul_(1.3)
    return taken


def doubled(base: dict[str, torch.Tensor]) -> Load:
    """The adapter of gate_proj twice, that of up_proj never (unsloth-zoo#941)."""
    twice = scaled(2, base)
    return lambda name, weight: (
        twice(name, weight) if "gate_proj" in name else base[name] if "up_proj" in name else weight
    )


def test_a_second_model_that_takes_every_weight_is_green(trainer: Any) -> None:
    install(trainer, SOURCE)
    result = run_check(trainer)
    assert result.finding.level == "green"
    assert result.situation.merges
    assert all(p.applied == pytest.approx(1, abs=1e-3) for p in result.probes[1:])


@pytest.mark.parametrize("strength", [0.02, 0.3])
def test_a_trained_adapter_that_never_arrives_is_told_from_another_base(trainer: Any, strength: float) -> None:
    """As after a resume: what differs then is the adapter itself, and a strong one drowns what is moved."""
    weights = [p for name, p in trainer.model.named_parameters() if "lora_B" in name]
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in weights:
            weight.normal_(std=strength)
    try:
        install(trainer, SOURCE, never)
        finding = run_check(trainer, every_part=False).finding
        assert (finding.level, finding.name) == ("red", Cause.ADAPTER_UNUSED), finding
    finally:
        with torch.no_grad():
            for weight in weights:
                weight.zero_()


def test_a_sync_from_copies_keeps_no_second_copy_of_the_base(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VLLMGeneration, ITERATE, getattr(VLLMGeneration, ITERATE))  # put back at the end
    sync_from_copies()
    install(trainer, SOURCE)
    result = run_check(trainer, every_part=False)
    assert (result.finding.level, result.situation.merges, result.drift) == ("green", False, 0)


@pytest.mark.parametrize(
    ("fault", "cause", "named"),
    [
        (lambda base: never, Cause.ADAPTER_UNUSED, "q_proj"),
        (lambda base: without("up_proj"), Cause.PART_UNUSED, "of up_proj ("),
        (lambda base: scaled(0.5, base), Cause.SCALED, "at 0.5 times"),
        (doubled, Cause.PART_WRONG, "gate_proj, up_proj otherwise"),
        (lambda base: corrupting, Cause.SYNC_MOVES_BASE, "log-probabilities moved"),
    ],
    ids=[
        "no sync",
        "a projection never loaded",
        "a scaled adapter",
        "one twice, one never",
        "a sync that moves the base",
    ],
)
def test_a_sampler_with_a_fault_is_red_with_its_cause(
    trainer: Any,
    base: dict[str, torch.Tensor],
    fault: Callable[[dict[str, torch.Tensor]], Load],
    cause: Cause,
    named: str,
) -> None:
    install(trainer, SOURCE, fault(base))
    result = run_check(trainer)
    assert (result.finding.level, result.finding.name) == ("red", cause), result.finding
    assert named in result.finding.found
    if cause is not Cause.SYNC_MOVES_BASE:
        assert result.probes[0].noise_mean < 1e-5, "as it is, a fresh adapter shows none of these"


@pytest.mark.parametrize("part", ["up_proj.base_layer.weight", "up_proj.lora_A.default.weight"])
def test_what_a_faulty_sync_did_to_the_weights_is_found_and_undone(trainer: Any, part: str) -> None:
    weights = {name: weight for name, weight in trainer.model.named_parameters() if name.endswith(part)}
    before = {name: weight.detach().clone() for name, weight in weights.items()}

    def spoiling(name: str, weight: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            for target in weights.values() if "embed_tokens" in name else ():
                target.mul_(1.5)
        return weight.clone()

    with torch.no_grad():
        adapters = [(p, p.clone()) for n, p in trainer.model.named_parameters() if "up_proj.lora_B" in n]
        for parameter, _ in adapters:
            parameter.normal_(std=0.05)
    install(trainer, SOURCE, spoiling)
    finding = run_check(trainer, every_part=False).finding
    with torch.no_grad():
        for parameter, value in adapters:
            parameter.copy_(value)
    assert finding.level == "red"
    assert {name for name, weight in weights.items() if not torch.equal(weight, before[name])} == set()


def test_another_head_is_red_as_the_base(trainer: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    other: Load = lambda name, weight: (  # noqa: E731
        weight + 0.1 * torch.randn(weight.shape, generator=generator) if "embed_tokens" in name else weight
    )
    install(trainer, SOURCE, other)
    finding = run_check(trainer, every_part=False).finding
    assert (finding.level, finding.name) == ("red", Cause.BASE_DIFFERS)


def test_a_head_that_is_trained_and_never_synced_is_red(trainer: Any) -> None:
    trainer.model.get_input_embeddings().weight.requires_grad = True  # the head is tied to it
    install(trainer, SOURCE, without("embed_tokens"))
    result = run_check(trainer)
    assert (result.finding.level, result.finding.name) == ("red", Cause.PART_UNUSED)
    assert "of embed_tokens (" in result.finding.found
    install(trainer, SOURCE)
    assert run_check(trainer).finding.level == "green"


def test_a_trained_adapter_that_is_not_synced_is_not_taken_for_another_base(trainer: Any) -> None:
    with torch.no_grad():
        kept = [(p, p.clone()) for n, p in trainer.model.named_parameters() if "lora_B" in n]
        for parameter, _ in kept:
            parameter.normal_(std=0.05)
    install(trainer, SOURCE, never)
    finding = run_check(trainer).finding
    with torch.no_grad():
        for parameter, value in kept:
            parameter.copy_(value)
    assert (finding.level, finding.name) == ("red", Cause.ADAPTER_UNUSED)


def state_of(trainer: Any) -> dict[str, Any]:
    """Everything of a trainer and this process that a check could leave changed, as comparable values."""
    model = trainer.model
    weights = {n: (p.dtype, p.requires_grad, p.detach().clone()) for n, p in model.named_parameters()}
    scales = {
        n: p.quant_state.absmax.clone()
        for n, p in model.named_parameters()
        if getattr(p, "quant_state", None) is not None
    }
    return {
        "weights": weights,
        "scales": scales,
        "modes": {name: module.training for name, module in model.named_modules()},
        "own methods": {name for name in vars(model) if name.startswith("generate")},
        "config": model.config.to_dict(),
        "dropout": [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)],
        "generation": trainer.generation_config.to_dict() | trainer.generation_kwargs,
        "metrics": repr(trainer._metrics) + repr(trainer._logs) + repr(trainer._pending_metrics),
        "random": (random.getstate(), torch.get_rng_state(), np.random.get_state()),
        "step": trainer.state.global_step,
        "tokens": trainer.state.num_input_tokens_seen,
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("in_4bit", [False, True], ids=["float32", "NF4"])
@pytest.mark.parametrize("engine", ["generate", "a second model"])
def test_a_check_leaves_everything_as_it_was(tmp_path: Path, engine: str, in_4bit: bool) -> None:
    """Bit for bit, though TRL's sync merges into the base and takes it out again, and NF4 is requantised by that."""
    options = ["--target_modules", "q_proj", "up_proj", "--lora_dropout", "0.1"]
    options += ["--load_in_4bit", str(in_4bit), "--max_completion_length", "64", "--grpo.top_p", "0.9"]
    trainer = build(tmp_path / "run", *options).trainer
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    second = install(trainer, SOURCE, never) if engine == "a second model" else None
    before = state_of(trainer)
    run_check(trainer)
    after = state_of(trainer)
    assert {name for name in before if not same(before[name], after[name])} == set()
    if second is not None:
        assert trainer._last_loaded_step == -1, "the next rollout loads the weights anew"
        assert second.max_completion_length == trainer.max_completion_length
