"""The doctor's look at the machine that runs it, and its handling of a token."""

from __future__ import annotations

import socket
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from toolkit import backends, doctor
from toolkit.compat.versions import Package
from toolkit.doctor import facts, system
from toolkit.machine import hub as hub_module
from toolkit.machine.devices import find_gpus
from toolkit.settings import ModelSettings

SENTINEL = "hf_SENTINELsentinelSENTINEL"


def test_packages_that_it_asks_with_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for module in ("huggingface_hub", "pynvml"):
        monkeypatch.setitem(sys.modules, module, None)
    found = doctor.collect()
    report = doctor.examine(found)
    failed = {finding.name for finding in report.findings if finding.level == "red"}
    assert {"huggingface-hub", "nvidia-ml-py"} <= failed
    assert (found.token_from, found.gpus, found.hub.reachable) == ("", (), None)


def test_a_stale_file_in_the_compiled_cache_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = {name: metadata.version(name) for name in ("transformers", "trl")}
    monkeypatch.setattr("toolkit.doctor.facts.versions.find_package", lambda name: Package(now.get(name, "2026.10.9")))
    (tmp_path / "moe_utils.py").write_text("# a copied file, without a head\n")
    assert facts._compiled_by(tmp_path) == {}
    for name, trl in (("A", now["trl"]), ("B", "1.0.0"), ("C", now["trl"])):
        head = f'"""\n2026.10.9\n2026.10.9\n{now["transformers"]}\n{trl}\n__UNSLOTH_VERSIONING__\n"""\n'
        (tmp_path / f"{name}.py").write_text(head)
    assert facts._compiled_by(tmp_path)["trl"] == "1.0.0"


@pytest.mark.parametrize(
    ("parents", "shell"),
    [
        (["python.exe", "toolkit.exe", "cmd.exe", "explorer.exe"], "cmd"),
        (["toolkit.exe", "pwsh.exe", "cmd.exe"], "powershell"),
        (["python.exe", "powershell.exe", "WindowsTerminal.exe"], "powershell"),
        (["python.exe", "bash.exe", "git-bash.exe"], "bash"),
        (["python.exe", "Code.exe"], "powershell"),
    ],
)
def test_shell_is_the_nearest_one_above_python(parents: list[str], shell: str) -> None:
    assert system.shell_of(parents) == shell


def test_idle_timeout_is_read_from_whichever_windows_user_can_be_read(tmp_path: Path) -> None:
    assert system.idle_timeout_of(tmp_path / "nowhere") is None
    for user in ("Default", "me"):
        (tmp_path / user).mkdir()
    assert system.idle_timeout_of(tmp_path) == ""
    (tmp_path / "me" / ".wslconfig").write_text("[wsl2]\nmemory=24GB\nVMIdleTimeout = -1\n")
    assert system.idle_timeout_of(tmp_path) == "-1"


def test_makers_of_graphics_cards_are_read_from_the_kernel(tmp_path: Path) -> None:
    for name, vendor in (("card0", "0x1a03"), ("card1", "0x10de"), ("card2", "0x1002"), ("card3", "0x10de")):
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "device" / "vendor").write_text(f"{vendor}\n")
    assert system.cards_by_vendor(tmp_path) == ("AMD", "NVIDIA")
    assert system.cards_by_vendor(tmp_path / "nowhere") == ()


def test_verdict_names_the_backend_that_a_run_would_choose() -> None:
    gpus, why = find_gpus()
    chosen = backends.choose(ModelSettings(), gpus, why).backend
    verdict = doctor.examine(doctor.collect()).verdict
    if "cannot" in verdict:
        pytest.skip(verdict)
    assert ("CPU" not in verdict) == chosen.on_gpu
    if chosen.on_gpu:
        assert f"with {chosen.name}" in verdict


def test_facts_do_not_hold_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(SENTINEL)
    monkeypatch.setenv("HF_TOKEN", SENTINEL)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = doctor.collect()
    assert found.token_from == "HF_TOKEN"  # noqa: S105 (a name, not a token)
    assert SENTINEL not in repr(found)


def test_network_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "NETWORK_TIMEOUT_S", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3) or [])
    started = time.monotonic()
    assert hub_module._connect("hub.example", 443).startswith("no answer")
    assert time.monotonic() - started < 1.5


def test_endpoint_without_a_scheme_is_not_taken_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "hub.example")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "_connect", lambda *_: "")
    assert hub_module.ask_hub().reachable is False


def test_network_that_answers_is_ok() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert hub_module._connect("127.0.0.1", server.getsockname()[1]) == ""
