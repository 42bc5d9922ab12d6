"""More than one process: what is refused before anything loads, and launcher configurations that accelerate takes."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from tests.paths import CONFIGS
from toolkit import backends, runs
from toolkit.compat.accelerate import check_launch, processes_asked_for, start_all_on_a_cpu
from toolkit.errors import BackendError, SettingsError
from toolkit.launch.frame import own_card_first
from toolkit.launch.situation import unused_cards
from toolkit.machine import processes
from toolkit.machine.devices import Gpu
from toolkit.runs.reader import is_complete, read_json
from toolkit.settings import ModelSettings

LAUNCH_CONFIGS = sorted((CONFIGS / "accelerate").glob("*.yaml"))
CARD = Gpu(0, "NVIDIA GeForce RTX 4090", 23.99, 23.5, (8, 9), "580.65")


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


def test_one_process_is_alone_and_the_first() -> None:
    assert (processes.world_size(), processes.rank(), processes.is_main(), processes.sharding()) == (1, 0, True, "")
    assert processes.gather("x") == ["x"]
    assert processes.on_main(lambda: 3) == 3
    with processes.word() as is_ours:
        assert is_ours


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"},
            "accelerate was asked for several processes",
        ),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun started this"),
    ],
)
def test_processes_that_do_not_know_of_one_another_are_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(BackendError, match=said):
        check_launch(environment)
    check_launch(environment | {"WORLD_SIZE": "2"})


def test_accelerate_still_starts_one_process_on_a_cpu() -> None:
    """What `start_all_on_a_cpu` stands on: when this fails, `--num_processes 2` may work and need no torchrun."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    args = launch_command_parser().parse_args(["--cpu", "--num_processes", "2", "recipe.py"])
    command, environment = prepare_simple_launcher_cmd_env(_validate_launch_command(args)[0])
    assert command[1:] == ["recipe.py"]
    with pytest.raises(BackendError, match="a card for each, or none"):
        check_launch({k: v for k, v in environment.items() if k != "WORLD_SIZE"})


@pytest.mark.parametrize(
    ("words", "n"),
    [
        (["python", "/venv/bin/accelerate", "launch", "--num_processes", "2", "recipe.py", "--seed", "1"], 2),
        (["python", "-m", "accelerate.commands.launch", "--cpu", "--num_processes=3", "recipe.py"], 3),
        (["python", "/venv/bin/accelerate-launch", "--num-processes", "4", "recipe.py"], 4),
        (["bash", "-c", "python recipe.py"], None),
        ([], None),
    ],
)
def test_how_many_processes_accelerate_was_asked_for(words: list[str], n: int | None) -> None:
    assert processes_asked_for(words) == n


def test_a_process_that_is_not_alone_by_mistake_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.compat.accelerate._launchers_words", lambda: pytest.fail("asked its launcher"))
    start_all_on_a_cpu({})
    start_all_on_a_cpu({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"})


def test_each_process_of_a_machine_has_a_card_of_its_own() -> None:
    cards = [Gpu(i, f"card {i}", 24.0, 24.0, (8, 9), "580", visible_as=str(i)) for i in range(3)]
    assert [card.index for card in own_card_first(cards, 1)] == [1, 0, 2]
    assert own_card_first(cards, 0) == cards
    assert own_card_first([], 1) == []
    with pytest.raises(BackendError, match=r"process 4 of this machine has no card; .* visible cards, 3"):
        own_card_first(cards, 3)


def test_one_process_on_several_cards_says_how_to_use_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["recipes/gsm8k_r1.py"])
    (hint,) = unused_cards([CARD, CARD])
    assert hint.endswith("without Unsloth: accelerate launch --num_processes 2 recipes/gsm8k_r1.py")
    assert unused_cards([CARD]) == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert unused_cards([CARD, CARD]) == []


@pytest.mark.parametrize("settings", [ModelSettings(), ModelSettings(vllm_mode="server")])
def test_unsloth_gives_way_with_the_reason_and_is_refused_where_it_was_asked_for(
    settings: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: object())
    if settings.vllm_mode == "colocate":
        assert backends.choose(settings, [CARD], "").backend.name == "unsloth"
        monkeypatch.setenv("WORLD_SIZE", "2")
    choice = backends.choose(settings, [CARD], "")
    assert choice.backend.name == "transformers"
    assert "Unsloth does not do" in choice.why
    asked = ModelSettings(backend="unsloth", vllm_mode=settings.vllm_mode)
    with pytest.raises(BackendError, match=r"--backend unsloth with .*; wanted --backend transformers; or "):
        backends.choose(asked, [CARD], "")


@pytest.mark.parametrize(
    ("variables", "settings", "on_gpu", "said"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, {"use_vllm": False}, True, "--load_in_4bit false"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, {"load_in_4bit": False}, True, "--use_vllm false"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, {}, False, "FSDP 2 without a CUDA device"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, {}, True, "FSDP 1, which this project does not use"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, {}, True, "ZeRO-3, which"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, {}, True, ""),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, {"load_in_4bit": False, "use_vllm": False}, True, ""),
        ({}, {}, False, ""),
    ],
)
@pytest.mark.usefixtures("two_processes")
def test_what_does_not_go_with_a_split_model_is_refused(
    variables: dict[str, str], settings: dict[str, Any], on_gpu: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if not said:
        backends.check_sharding(ModelSettings(**settings), on_gpu=on_gpu)
        return
    with pytest.raises(BackendError, match=said):
        backends.check_sharding(ModelSettings(**settings), on_gpu=on_gpu)


HOW = {"ddp": "", "fsdp": "FSDP 2", "deepspeed_zero2": "ZeRO-2"}


@pytest.mark.parametrize("path", LAUNCH_CONFIGS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("two_processes")
def test_accelerate_takes_each_configuration_and_tells_the_processes_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    defaults: Any = load_config_from_file(str(path))  # raises for a key that accelerate does not know
    assert defaults.num_processes == 2
    args = launch_command_parser().parse_args(["--config_file", str(path), "--num_processes", "2", "recipe.py"])
    _validate_launch_command(args)
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        environment = prepare_deepspeed_cmd_env(args)[1]
    else:
        assert args.use_fsdp or args.multi_gpu  # what makes it start more than one process
        environment = prepare_multi_gpu_env(args)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes.sharding() == HOW[path.stem]
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "no"  # the recipe's own choice is not overruled
    assert len(LAUNCH_CONFIGS) == len(HOW)


def test_a_checkpoint_of_two_processes_is_whole_with_the_random_state_of_both(tmp_path: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "adapter_model.safetensors", "rng_state_0.pth"):
        (tmp_path / name).touch()
    (tmp_path / "trainer_state.json").write_text("{}")
    assert not is_complete(tmp_path, 2)
    (tmp_path / "rng_state_1.pth").touch()
    assert is_complete(tmp_path, 2)
    assert not is_complete(tmp_path)
    (tmp_path / "optimizer.pt").unlink()
    assert not is_complete(tmp_path, 2)


def test_a_process_that_follows_reads_the_folder_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    leader = runs.create("recipe", tmp_path / "run", {})
    follower = runs.follow("recipe", leader.folder, resumed=False)
    before = sorted(leader.folder.rglob("*"))
    written = read_json(leader.folder / "settings.json")
    follower.update("settings.json", effective={})
    follower.append_metrics({"step": 1})
    follower.write_completions("before", [{}])
    follower.rewind_to(0)
    follower.remove()
    follower.close()
    assert sorted(leader.folder.rglob("*")) == before
    assert read_json(leader.folder / "settings.json") == written
    assert follower.document("settings.json") == {"effective": {}}
    leader.close()


def test_a_run_is_resumed_with_as_many_processes_as_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.launch.presets import settings_to_resume

    (tmp_path / "settings.json").write_text('{"recipe": "gsm8k_r1", "requested": {}}')
    settings_to_resume(tmp_path, {"resume"})
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="with 2 processes; wanted 1, as it began"):
        settings_to_resume(tmp_path, {"resume"})
