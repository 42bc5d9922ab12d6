"""Flags, presets and `--grpo.*`: one road in, and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.paths import CONFIGS
from toolkit.errors import SettingsError
from toolkit.settings import GrpoSettings, check, flatten
from toolkit.settings.grpo_fields import grpo_fields
from toolkit.settings.parse import given_names, parse, read_yaml


def test_a_flag_wins_over_a_preset_and_a_preset_over_the_default() -> None:
    presets = [("a.yaml", {"seed": 1, "lora_rank": 4, "standby": False, "grpo": {"epsilon": 0.1, "top_k": 5}})]
    settings = parse(GrpoSettings, ["--seed", "2", "--grpo.top_k", "7"], presets)
    assert settings.record.seed == 2
    assert settings.model.lora_rank == 4
    assert settings.model.standby is False
    assert settings.model.lora_alpha == GrpoSettings().model.lora_alpha
    assert settings.grpo == {"epsilon": 0.1, "top_k": 7}


@pytest.mark.parametrize(
    "argv",
    [["--standby", "false"], ["--standby=False"], ["--no-standby"], ["--no_standby"]],
    ids=" ".join,
)
def test_every_common_spelling_of_false(argv: list[str]) -> None:
    assert parse(GrpoSettings, argv).model.standby is False


def test_dashes_and_underscores_are_one() -> None:
    assert parse(GrpoSettings, ["--num-generations", "4"]) == parse(GrpoSettings, ["--num_generations=4"])
    assert parse(GrpoSettings, ["--load-in-4bit", "false"]) == parse(GrpoSettings, ["--no-load_in_4bit"])
    assert given_names(["--max-steps", "-1", "--grpo.top-p=0.9", "word"]) == {"max_steps", "grpo.top_p"}


def test_the_word_none_is_kept_where_it_is_a_value() -> None:
    settings = parse(GrpoSettings, ["--gradient_checkpointing", "none", "--grpo.scale_rewards", "none"])
    assert settings.model.gradient_checkpointing == "none"
    assert settings.grpo == {"scale_rewards": "none"}


def test_grpo_fields_have_their_declared_types() -> None:
    argv = [
        "--grpo.loss_type",
        "dr_grpo",
        "--grpo.epsilon_high",
        "0.28",
        "--grpo.mask_truncated_completions",
        "true",
        "--grpo.top_k",
        "0",
    ]
    assert parse(GrpoSettings, argv).grpo == {
        "loss_type": "dr_grpo",
        "epsilon_high": 0.28,
        "mask_truncated_completions": True,
        "top_k": 0,
    }


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--sead", "1"], "unknown flag --sead; did you mean --seed, --reward?"),
        (["--seed", "x"], "--seed is 'x'; wanted a whole number"),
        (["--steps_per_generation", "x"], "--steps_per_generation is 'x'; wanted a whole number"),
        (["--pass_score", "high"], "--pass_score is 'high'; wanted a number"),
        (["--output_dir"], "--output_dir has no value; wanted one"),
        (["--learning_rate", "fast"], "--learning_rate is 'fast'; wanted a number"),
        (["--backend", "unslot"], "--backend is 'unslot'; did you mean unsloth?"),
        (["--standby", "maybe"], "--standby is 'maybe'; wanted true or false"),
        (["--grpo.los_type", "x"], "unknown GRPOConfig field 'los_type'; did you mean loss_type"),
        (["--grpo.epsilon", "abc"], "--grpo.epsilon is 'abc'; wanted a number"),
        (["--grpo.beta", "0.1"], "wanted --beta"),
        (["--grpo.trust_remote_code", "true"], "remote code is never run"),
        (["train"], "unexpected argument 'train'"),
        (["--grpo"], "--grpo names no field; wanted --grpo.NAME VALUE"),
        (["--grpo", "top_p", "0.9"], "--grpo names no field; wanted --grpo.NAME VALUE"),
        (["--grpo.=1"], "names no field; wanted --grpo.NAME VALUE"),
        (["--use_vllm=maybe"], "--use_vllm"),
        (["--grpo.top_p"], "--grpo.top_p"),
        (["--grpo.top_p=0.9", "0.8"], "0.8"),
        (["--grpo.generation_kwargs", "top_p", "0.9"], "--grpo.generation_kwargs is top_p 0.9; wanted one JSON object"),
        (["--grpo.generation_kwargs"], "--grpo.generation_kwargs is nothing; wanted one JSON object"),
        (["--grpo.generation_kwargs", "[1]"], "--grpo.generation_kwargs is [1]; wanted one JSON object"),
        (["--grpo.generation_kwargs={'a': 1}"], "--grpo.generation_kwargs is {'a': 1}; wanted one JSON object"),
        (["--grpo.chat_template_kwargs", "{" + "x" * 99], "{" + "x" * 59 + ";"),
    ],
)
def test_bad_arguments_say_what_was_found_and_wanted(argv: list[str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(GrpoSettings, argv)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


OWNED = {
    "save_only_model": "--resume needs the optimizer",
    "save_strategy": "wanted --save_steps",
    "save_total_limit": "the last two checkpoints are kept",
    "logging_steps": "every step is recorded",
    "logging_strategy": "every step is recorded",
    "logging_first_step": "every step is recorded",
    "logging_dir": "wanted --output_dir",
    "log_completions": "--report_to wandb or trackio",
    "disable_tqdm": "its own view of progress",
    "generation_batch_size": "--per_device_train_batch_size and --steps_per_generation",
    "auto_find_batch_size": "--per_device_train_batch_size",
    "num_train_epochs": "wanted --max_steps",
    "overwrite_output_dir": "--resume",
    "hub_token": "HF_TOKEN",
    "push_to_hub_token": "HF_TOKEN",
    "push_to_hub": "wanted --push_to_hub",
    "hub_strategy": "wanted --push_to_hub",
}


@pytest.mark.parametrize(("name", "said"), OWNED.items(), ids=OWNED)
def test_fields_that_records_and_resume_stand_on_are_refused_without_their_value(name: str, said: str) -> None:
    roads: list[tuple[list[str], Any]] = [
        ([f"--grpo.{name}", "hf_secret"], {}),
        ([f"--grpo.{name}=hf_secret"], {}),
        ([], {name: "hf_secret"}),
        ([], {name: ["hf_secret"]}),
    ]
    for argv, mapping in roads:
        with pytest.raises(SettingsError) as caught:
            parse(GrpoSettings, argv, [("mine.yaml", {"grpo": mapping})])
        assert f"--grpo.{name} names a setting that the recipe owns" in str(caught.value)
        assert said in str(caught.value)
        assert "hf_secret" not in str(caught.value)


def test_a_run_may_be_named() -> None:
    assert parse(GrpoSettings, ["--grpo.run_name", "true"]).grpo == {"run_name": "true"}


@pytest.mark.parametrize("form", [["--use_vllm", "true"], ["--use_vllm=true"], ["--use_vllm=True"]], ids=" ".join)
def test_an_optional_switch_takes_both_forms(form: list[str]) -> None:
    assert parse(GrpoSettings, form).model.use_vllm is True


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--grpo.mask_truncated_completions"], True),
        (["--grpo.mask_truncated_completions", "--grpo.top_k", "3"], True),
        (["--grpo.mask_truncated_completions=true"], True),
        (["--grpo.mask_truncated_completions=false"], False),
        (["--grpo.mask-truncated-completions", "FALSE"], False),
    ],
)
def test_a_switch_of_grpo_takes_both_forms_and_none(argv: list[str], value: bool) -> None:
    assert parse(GrpoSettings, argv).grpo["mask_truncated_completions"] is value


def test_a_word_of_a_text_setting_is_left_as_it_is() -> None:
    assert parse(GrpoSettings, ["--push_to_hub", "true"]).record.push_to_hub == "true"
    assert parse(GrpoSettings, ["--model=false"]).model.model == "false"


def test_values_that_begin_with_a_dash() -> None:
    assert parse(GrpoSettings, ["--grpo.top_k=-1", "--grpo.delta", "-2.5"]).grpo == {"top_k": -1, "delta": -2.5}


def test_mappings_of_grpo_are_json_and_survive_the_round_trip(tmp_path: Path) -> None:
    argv = [
        "--grpo.generation_kwargs",
        '{"top_p": 0.9, "stop": ["a", null]}',
        '--grpo.gradient_checkpointing_kwargs={"use_reentrant": false}',
        "--grpo.chat_template_kwargs",
        "None",
    ]
    asked = {
        "generation_kwargs": {"top_p": 0.9, "stop": ["a", None]},
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "chat_template_kwargs": None,
    }
    settings = parse(GrpoSettings, argv)
    assert settings.grpo == asked
    saved = json.loads(json.dumps(flatten(settings), default=str))
    assert parse(GrpoSettings, [], [("settings.json", saved)]) == settings
    path = tmp_path / "c.yaml"
    path.write_text("grpo:\n  generation_kwargs: {top_p: 0.9, stop: [a, null]}\n")
    read = parse(GrpoSettings, [], [(str(path), read_yaml(path))])
    assert read.grpo == {"generation_kwargs": asked["generation_kwargs"]}


def test_null_in_yaml_is_not_set(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: null\nmodel:\nstandby: ~\nuse_vllm: null\ngrpo:\n  epsilon: null\n  top_k:\n")
    assert parse(GrpoSettings, [], [(str(path), read_yaml(path))]) == GrpoSettings()
    path.write_text("grpo:\n")
    assert parse(GrpoSettings, [], [(str(path), read_yaml(path))]) == GrpoSettings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model: caf\xe9\n", "is not UTF-8 at byte 10"),
        (b"grpo: [a, b]", "c.yaml: grpo is a list"),
        (b"grpo: hello", "c.yaml: grpo is one value"),
        (b"1: 2", "c.yaml sets 1"),
        (b"grpo: {1: 2}", "c.yaml: unknown GRPOConfig field '1'"),
        (b"max_steps: [1, 2]", "c.yaml: max_steps is a list; wanted one value"),
        (b"model: {a: 1}", "c.yaml: model is a mapping; wanted one value"),
        (b"standby: [true]", "c.yaml: standby is a list"),
        (b"standby: maybe", "c.yaml: --standby is 'maybe'"),
        (b"target_modules: {a: 1}", "c.yaml: target_modules is a mapping; wanted a list"),
        (b"target_modules: [[a], b]", "c.yaml: target_modules holds a list in a list"),
        (b"grpo: {epsilon: [1, 2]}", "c.yaml: grpo.epsilon is a list; wanted one value"),
        (b"grpo: {top_k: {a: 1}}", "c.yaml: grpo.top_k is a mapping; wanted one value"),
        (b"grpo: {generation_kwargs: [1]}", "c.yaml: grpo.generation_kwargs is a list; wanted a mapping"),
        (b"grpo: {generation_kwargs: {d: 2024-01-01}}", "c.yaml: grpo.generation_kwargs cannot be said in JSON"),
        (b"grpo: {generation_kwargs: top_p}", "c.yaml: --grpo.generation_kwargs is top_p; wanted one JSON object"),
        (b"seed: 2024-99-99", "is not YAML"),
        (b"[" * 100_000, "is not YAML"),
        (b"", "holds NoneType"),
    ],
)
def test_a_file_of_the_wrong_shape_is_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        parse(GrpoSettings, [], [(str(path), read_yaml(path))])
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_name_longer_than_the_file_system_takes() -> None:
    with pytest.raises(SettingsError, match="File name too long"):
        read_yaml(Path("x" * 300))


def test_a_bad_preset_names_its_file() -> None:
    for mapping in ({"num_generation": 4}, {"seed": "x"}, {"grpo": {"los_type": "x"}}):
        with pytest.raises(SettingsError, match=r"mine\.yaml"):
            parse(GrpoSettings, [], [("mine.yaml", mapping)])


def test_every_preset_of_the_recipes_parses() -> None:
    paths = sorted(CONFIGS.glob("*.yaml"))
    assert [p.stem for p in paths] == ["12gb", "16gb", "24gb", "deepseek_r1", "embedded"]
    for path in paths:
        check(parse(GrpoSettings, [], [(str(path), read_yaml(path))]))


def test_settings_survive_the_trip_through_json_and_back() -> None:
    settings = parse(GrpoSettings, ["--seed", "3", "--target_modules", "q_proj", "--grpo.top_p", "0.9"])
    flat = {k: v for k, v in flatten(settings).items() if v is not None}
    assert parse(GrpoSettings, [], [("settings.json", flat)]) == settings


def test_the_fields_read_from_source_are_those_of_the_class() -> None:
    from dataclasses import fields

    from trl.trainer.grpo_config import GRPOConfig

    assert {f.name for f in fields(GRPOConfig)} <= set(grpo_fields())
