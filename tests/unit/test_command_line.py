"""Flags, presets and `--grpo.*`: one road in, and errors of one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.command_line import parse, read_yaml
from toolkit.compat.trl_fields import grpo_fields
from toolkit.errors import SettingsError
from toolkit.settings import GrpoSettings, check, flatten

CONFIGS = Path(__file__).parents[2] / "recipes" / "configs"


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
        (["--sead", "1"], "unknown flag --sead; did you mean --seed?"),
        (["--seed", "x"], "--seed is 'x'; wanted a whole number"),
        (["--learning_rate", "fast"], "--learning_rate is 'fast'; wanted a number"),
        (["--backend", "unslot"], "--backend is 'unslot'; did you mean unsloth?"),
        (["--standby", "maybe"], "--standby is 'maybe'; wanted true or false"),
        (["--grpo.los_type", "x"], "unknown GRPOConfig field 'los_type'; did you mean loss_type"),
        (["--grpo.epsilon", "abc"], "--grpo.epsilon is 'abc'; wanted a number"),
        (["--grpo.beta", "0.1"], "wanted --beta"),
        (["--grpo.trust_remote_code", "true"], "remote code is never run"),
        (["train"], "unexpected argument 'train'"),
    ],
)
def test_bad_arguments_say_what_was_found_and_wanted(argv: list[str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(GrpoSettings, argv)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_preset_names_its_file() -> None:
    for mapping in ({"num_generation": 4}, {"seed": "x"}, {"grpo": {"los_type": "x"}}):
        with pytest.raises(SettingsError, match=r"mine\.yaml"):
            parse(GrpoSettings, [], [("mine.yaml", mapping)])


def test_every_preset_of_the_recipes_parses() -> None:
    paths = sorted(CONFIGS.glob("*.yaml"))
    assert [p.stem for p in paths] == ["12gb", "16gb", "24gb", "embedded"]
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
