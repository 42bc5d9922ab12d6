"""Standby's failures are told as such; what is said of the engines is held against their sources in tests/engines."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from toolkit.backends import unsloth as backend
from toolkit.compat import standby, unsloth
from toolkit.errors import ContractError, ModelError, SettingsError, StandbyError
from toolkit.machine.devices import Gpu
from toolkit.models import embedded
from toolkit.settings import Lengths, ModelSettings

CARD = Gpu(0, "a card", 24.0, 23.0, (8, 6), "580")


def pretended_zoo(folder: Path, body: str) -> ModuleType:
    """A module where Unsloth has the one that starts vLLM; `load_vllm` does what `body` says."""
    path = folder / "unsloth_zoo" / "vllm_utils.py"
    path.parent.mkdir()
    path.write_text(f"def load_vllm():\n    {body}\n")
    spec = importlib.util.spec_from_file_location("pretended_vllm_utils", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(monkeypatch: pytest.MonkeyPatch, from_pretrained: Any, **asked: Any) -> None:
    ours = backend.UnslothBackend(CARD)
    monkeypatch.setattr(ours, "rolls_out_with_vllm", lambda settings: True)
    monkeypatch.setattr(backend, "check_before_loading", lambda **_: None)
    monkeypatch.setattr(backend, "_import_unsloth", lambda: SimpleNamespace(from_pretrained=from_pretrained))
    ours.load(ModelSettings(**asked), "a model", Lengths(512, 1024), 0)


def test_an_engine_that_does_not_start_with_standby_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = pretended_zoo(tmp_path, "raise RuntimeError('Memory usage increased')")

    def from_pretrained(**_: Any) -> None:
        try:
            zoo.load_vllm()
        except RuntimeError as error:  # as Unsloth passes on what vLLM raised
            raise RuntimeError(str(error)) from None

    with pytest.raises(StandbyError, match=r"^vLLM does not start with standby \(Memory usage increased\); --standby"):
        load(monkeypatch, from_pretrained)
    with pytest.raises(ModelError):
        load(monkeypatch, from_pretrained, standby=False)


def test_a_load_that_fails_elsewhere_is_no_failure_of_standby(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(**_: Any) -> None:
        raise OSError("no file named model.safetensors")

    with pytest.raises(ModelError, match="no file named"):
        load(monkeypatch, from_pretrained)


class Engine:
    """As `vllm.LLM`; `fails` is the method that raises."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.done = fails, []

    def sleep(self, level: int = 1) -> None:
        self._do("sleep", level)

    def wake_up(self, tags: list[str] | None = None) -> None:
        self._do("wake_up", tags)

    def _do(self, name: str, argument: Any) -> None:
        if self.fails == name:
            raise AssertionError("Memory usage increased after sleeping.")
        self.done.append((name, argument))


@pytest.fixture(autouse=True)
def free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    answers = iter([(2 << 30, 0), (5 << 30, 0)])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: next(answers))


def test_a_new_engine_sleeps_as_trl_lets_it_and_wakes_whole() -> None:
    engine = Engine()
    assert standby.rehearse(engine).endswith("which frees 3.0 GiB")
    assert engine.done == [("sleep", 2), ("wake_up", None)]


@pytest.mark.parametrize("asked", [True, False])
def test_loading_rehearses_it_where_it_was_asked_for(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, engine = embedded.folder(), Engine()
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model.vllm_engine, model.load_lora = engine, lambda *_, **__: None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    fast = SimpleNamespace(from_pretrained=lambda **_: (model, tokenizer), get_peft_model=lambda base, **_: base)
    ours = backend.UnslothBackend(CARD)
    monkeypatch.setattr(ours, "rolls_out_with_vllm", lambda settings: True)
    monkeypatch.setattr(backend, "check_before_loading", lambda **_: None)
    monkeypatch.setattr(backend, "_import_unsloth", lambda: fast)
    policy = ours.load(ModelSettings(load_in_4bit=False, standby=asked), "embedded", Lengths(32, 32), 0)
    assert [name for name, _ in engine.done] == (["sleep", "wake_up"] if asked else [])
    assert [note.partition(":")[0] for note in policy.notes] == (["standby", "standby"] if asked else [])


@pytest.mark.parametrize(("fails", "step", "said"), [("sleep", "sleep", "fall asleep"), ("wake_up", "wake", "wake up")])
def test_a_failure_to_sleep_or_wake_is_known_through_what_wraps_it(fails: str, step: str, said: str) -> None:
    with pytest.raises(StandbyError, match=f"vLLM could not {said}") as caught:
        standby.rehearse(Engine(fails))
    wrapped = SettingsError("TRL refuses the settings")
    wrapped.__cause__ = caught.value
    found = standby.failure_in(wrapped)
    assert found is caught.value
    assert (caught.value.step, caught.value.next_step) == (step, "--standby false")
    assert standby.failure_in(SettingsError("another")) is None


def test_later_failures_are_told_too() -> None:
    engine = Engine()
    standby.rehearse(engine)
    engine.fails = "wake_up"
    with pytest.raises(StandbyError):
        engine.wake_up()


def test_what_only_standby_needs_stops_only_standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An allocator of vLLM that Unsloth's replacement does not fit."""
    path = tmp_path / "device_allocator" / "cumem.py"
    path.parent.mkdir()
    path.write_text("class CuMemAllocator:\n    def __init__(self):\n        self.pointers = {}\n")
    monkeypatch.setattr(
        unsloth, "NAMES", [row for row in unsloth.NAMES if "device_allocator/cumem.py" in row.files[:1]]
    )
    monkeypatch.setattr(unsloth, "CALLS", [])
    monkeypatch.setattr(unsloth, "folder_of", {"vllm": tmp_path}.get)
    unsloth.check_before_loading(standby=False)
    with pytest.raises(StandbyError, match="should have pointer_to_data, current_tag") as caught:
        unsloth.check_before_loading(standby=True)
    assert not isinstance(caught.value, ContractError)
