"""The doctor over machines that nobody here owns, its handling of a token, and its look at this machine."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.console import Console

from toolkit import backends, doctor
from toolkit import hub as hub_module
from toolkit.compat.versions import Build, Conflict, Package, ReleaseSet
from toolkit.devices import Gpu, find_gpus
from toolkit.doctor.facts import Disk, Facts
from toolkit.hub import Hub
from toolkit.settings import ModelSettings

BASE = {"torch": "2.13.0", "trl": "1.15.0", "rich": "15.0.0"}
GPU_EXTRA = {"unsloth": "2026.10.9", "vllm": "0.31.0", "vllm-bnb-plugin": "0.0.3"}
SENTINEL = "hf_SENTINELsentinelSENTINEL"


def packages(*without: str, **versions: str) -> dict[str, Package]:
    """The whole tested set with triton, less some, and some in other versions."""
    found = {**BASE, **GPU_EXTRA, "triton": "3.7.1", **{name.replace("_", "-"): v for name, v in versions.items()}}
    return {name: Package(version) for name, version in found.items() if name not in without}


def card(name: str = "NVIDIA GeForce RTX 4090", gib: float = 24.0, capability: tuple[int, int] = (8, 9)) -> Gpu:
    return Gpu(0, name, gib, gib - 0.5, capability, "580.65.06")


CUDA_13, CUDA_12_6, CPU_BUILD = (
    Build("2.13.0+cu130", (13, 0)),
    Build("2.13.0+cu126", (12, 6)),
    Build("2.13.0+cpu", None),
)
CPU_BOX = Facts(
    python=(3, 11, 7),
    system="Linux",
    wsl=False,
    gpus=(),
    why_no_gpu="no CUDA device (nvml shared library not found)",
    driver_cuda=None,
    tested=ReleaseSet(
        SpecifierSet(">=3.11"),
        (Requirement("torch==2.13.0"), Requirement("trl==1.15.0"), Requirement("rich>=14,<16")),
        tuple(Requirement(f"{name}=={version}") for name, version in GPU_EXTRA.items()),
    ),
    packages=packages(*GPU_EXTRA, "triton", torch="2.13.0+cpu"),
    conflicts=(),
    torch=CPU_BUILD,
    torchvision=None,
    work=Disk("/home/me", 50.0),
    model_cache=Disk("/home/me/.cache/huggingface/hub", 50.0),
    hub=Hub("hub.example", True),
    token_from="",
)
GPU_BOX = replace(
    CPU_BOX, gpus=(card(),), why_no_gpu="", driver_cuda=(13, 0), packages=packages(), torch=CUDA_13, torchvision=None
)
T4, V100 = card("Tesla T4", 15.0, (7, 5)), card("Tesla V100", 16.0, (7, 0))
RTX_5090 = card("NVIDIA GeForce RTX 5090", 31.8, (12, 0))
EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64,expandable_segments:True"}
STALE = {"unsloth": "2026.10.9", "transformers": "5.16.0", "trl": "1.14.0"}


def change(machine: Facts, **changes: Any) -> Facts:
    return replace(machine, **changes)


# id: machine, the check to look at, its status, a part of its remedy, and whether the main job can run
CASES: dict[str, tuple[Facts, str, str, str, bool]] = {
    "no GPU": (CPU_BOX, "GPU", "info", "", True),
    "no GPU needs no extra": (CPU_BOX, "GPU packages", "info", "", True),
    "half a driver": (
        change(CPU_BOX, why_no_gpu="no CUDA device (driver/library version mismatch)"), "GPU", "warn", "reboot", True,
    ),
    "old Python": (change(CPU_BOX, python=(3, 10, 12)), "Python", "fail", "newer Python", False),
    "native Windows": (
        change(GPU_BOX, system="Windows", packages=packages(*GPU_EXTRA)), "platform", "warn", "wsl --install", True,
    ),
    "native Windows without triton": (
        change(GPU_BOX, system="Windows", packages=packages(*GPU_EXTRA, "triton")),
        "triton", "fail", "pip install triton-windows", False,
    ),
    "WSL": (change(GPU_BOX, wsl=True), "platform", "ok", "", True),
    "RTX 4090": (GPU_BOX, "dtype", "ok", "", True),
    "T4": (change(GPU_BOX, gpus=(T4,)), "dtype", "info", "", True),
    "V100, CUDA 13 build": (change(GPU_BOX, gpus=(V100,)), "kernels", "fail", "CUDA 12.6", False),
    "V100, CUDA 12.6 build": (change(GPU_BOX, gpus=(V100,), torch=CUDA_12_6), "dtype", "info", "", True),
    "Blackwell, CUDA 13 build": (change(GPU_BOX, gpus=(RTX_5090,)), "dtype", "ok", "", True),
    "Blackwell, CUDA 12.6 build": (
        change(GPU_BOX, gpus=(RTX_5090,), torch=CUDA_12_6),
        "kernels", "fail", 'pip uninstall -y torch && pip install "torch==2.13.0"', False,
    ),
    "CPU torch beside a card": (
        change(GPU_BOX, torch=CPU_BUILD, packages=packages(torch="2.13.0+cpu")),
        "torch build", "fail", 'pip uninstall -y torch && pip install "torch==2.13.0"', False,
    ),
    "old driver": (change(GPU_BOX, driver_cuda=(12, 4)), "driver", "fail", "update the NVIDIA driver", False),
    "old driver, CUDA 12 build": (change(GPU_BOX, driver_cuda=(12, 4), torch=CUDA_12_6), "driver", "ok", "", True),
    "two cards": (
        change(GPU_BOX, gpus=(card(), card())),
        "GPU", "warn", "export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0", True,
    ),
    "a card in use": (
        change(GPU_BOX, gpus=(replace(card(), free_gib=3.0),)), "GPU memory", "warn", "nvidia-smi", True,
    ),
    "torchvision beside a CPU torch": (
        change(CPU_BOX, torchvision=Build("0.28.0+cu130", (13, 0))),
        "torchvision", "warn", "pip uninstall -y torchvision", True,
    ),
    "another trl": (change(CPU_BOX, packages=packages(trl="1.14.0")), "trl", "warn", 'pip install "trl==1.15.0"', True),
    "no trl": (change(CPU_BOX, packages=packages("trl")), "trl", "fail", 'pip install "trl==1.15.0"', False),
    "trl's folder is gone": (
        change(CPU_BOX, packages={**packages(), "trl": Package("1.15.0", has_module=False)}),
        "trl", "fail", 'pip install --force-reinstall --no-deps "trl==1.15.0"', False,
    ),
    "transformers refuses": (
        change(CPU_BOX, conflicts=(Conflict("transformers", Requirement("tokenizers<0.24"), "0.25.0"),)),
        "tokenizers", "fail", 'pip install "tokenizers<0.24"', False,
    ),
    "a card without the extra": (
        change(GPU_BOX, packages=packages(*GPU_EXTRA)), "GPU packages", "warn", 'pip install -e ".[gpu]"', True,
    ),
    "vllm without its plugin": (
        change(GPU_BOX, packages=packages("vllm-bnb-plugin")),
        "vllm-bnb-plugin", "fail", 'pip install "vllm-bnb-plugin==0.0.3"', False,
    ),
    "stale compiled cache": (
        change(GPU_BOX, compiled_by=STALE), "compiled cache", "warn", "rm -r unsloth_compiled_cache", True,
    ),
    "expandable segments": (
        change(GPU_BOX, variables=EXPANDABLE | {"UNSLOTH_VLLM_STANDBY": "1"}),
        "allocator", "warn", "unset PYTORCH_CUDA_ALLOC_CONF", True,
    ),
    "little disk": (change(GPU_BOX, work=Disk("/home/me", 8.0)), "disk, runs", "warn", "make room", True),
    "no disk": (change(CPU_BOX, work=Disk("/home/me", 0.2)), "disk, runs", "fail", "make room", False),
    "no network": (
        change(GPU_BOX, hub=Hub("hub.example", False, "no answer in 2 s")), "network", "warn", "--model FOLDER", True,
    ),
    "offline": (change(GPU_BOX, hub=Hub("", None, "HF_HUB_OFFLINE is set")), "network", "info", "", True),
}  # fmt: skip


@pytest.mark.parametrize(("machine", "name", "status", "remedy", "can_run"), CASES.values(), ids=list(CASES))
def test_machine(machine: Facts, name: str, status: str, remedy: str, can_run: bool) -> None:
    report = doctor.examine(machine)
    found = {check.name: check for check in report.checks}
    assert name in found
    assert found[name].status == status
    assert remedy in found[name].remedy
    assert bool(found[name].remedy) == bool(remedy)
    assert report.can_run == can_run


@pytest.mark.parametrize("machine", [CPU_BOX, GPU_BOX], ids=["CPU", "GPU"])
def test_a_machine_in_order_has_nothing_to_mend(machine: Facts) -> None:
    assert {check.status for check in doctor.run_checks(machine)} <= {"ok", "info"}


@pytest.mark.parametrize(
    ("machine", "verdict"),
    [
        (CPU_BOX, "the main job can run here: embedded model on the CPU"),
        (GPU_BOX, "the main job can run here: on NVIDIA GeForce RTX 4090 with unsloth and vLLM"),
        (
            change(GPU_BOX, packages=packages(*GPU_EXTRA)),
            "the main job can run here: on NVIDIA GeForce RTX 4090 with transformers",
        ),
        (
            change(GPU_BOX, driver_cuda=(12, 4)),
            "the main job cannot run here: mend driver; "
            "with CUDA_VISIBLE_DEVICES=-1 the embedded model trains on the CPU",
        ),
        (change(GPU_BOX, packages=packages("trl")), "the main job cannot run here: mend trl"),
    ],
)
def test_verdict(machine: Facts, verdict: str) -> None:
    assert doctor.examine(machine).verdict == verdict


def test_standby_or_expandable_segments_alone_are_fine() -> None:
    for variables in (EXPANDABLE | {"UNSLOTH_VLLM_STANDBY": "0"}, {"UNSLOTH_VLLM_STANDBY": "1"}):
        assert "allocator" not in {check.name for check in doctor.run_checks(change(GPU_BOX, variables=variables))}


def test_current_compiled_cache_is_fine() -> None:
    made = {"unsloth": "2026.10.9", "trl": "1.15.0"}
    assert "compiled cache" not in {check.name for check in doctor.run_checks(change(GPU_BOX, compiled_by=made))}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("missing", [("vllm-bnb-plugin",), tuple(GPU_EXTRA)], ids=["longest name", "brackets"])
def test_table_keeps_commands_on_one_line_and_ends_in_the_verdict(missing: tuple[str, ...], width: int) -> None:
    machine = change(GPU_BOX, torch=CPU_BUILD, packages=packages(*missing, trl="1.14.0"))
    report = doctor.examine(machine)
    screen = Console(width=width, file=io.StringIO(), color_system=None, _environ={})
    screen.print(doctor.render(report))
    lines = [line.strip() for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined] # a StringIO
    remedies = [check.remedy for check in report.checks if "pip" in check.remedy]
    assert len(remedies) == 3
    for remedy in remedies:
        assert f"→ {remedy}" in lines, "a command must survive copying"
    assert " ".join(lines[lines.index("", 5) :]).strip() == report.verdict


# The machine that runs the test


def run_doctor(*args: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`toolkit doctor` in a process of its own, which asks no network unless told to."""
    outside = ("HF_", "HUGGING_FACE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(outside)}
    environment |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"} | variables
    command = [sys.executable, "-m", "toolkit.cli", "doctor", *args]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_this_machine_can_run_the_main_job(tmp_path: Path) -> None:
    done = run_doctor("--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert set(report) == {"verdict", "can_run", "checks"}
    assert report["can_run"], report["verdict"]
    assert done.returncode == 0
    assert all(set(check) == {"name", "status", "found", "wanted", "remedy"} for check in report["checks"])


def test_terminal_without_unicode_gets_plain_marks(tmp_path: Path) -> None:
    done = run_doctor(cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.stderr == ""
    assert "+ ok" in done.stdout


def test_packages_that_it_asks_with_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for module in ("huggingface_hub", "pynvml"):
        monkeypatch.setitem(sys.modules, module, None)
    facts = doctor.collect()
    report = doctor.examine(facts)
    failed = {check.name for check in report.checks if check.status == "fail"}
    assert {"huggingface-hub", "nvidia-ml-py"} <= failed
    assert (facts.token_from, facts.gpus, facts.hub.reachable) == ("", (), None)


def test_verdict_names_the_backend_that_a_run_would_choose() -> None:
    gpus, why = find_gpus()
    chosen = backends.choose(ModelSettings(), gpus, why).backend
    verdict = doctor.examine(doctor.collect()).verdict
    if "cannot" in verdict:
        pytest.skip(verdict)
    assert ("CPU" not in verdict) == chosen.on_gpu
    if chosen.on_gpu:
        assert f"with {chosen.name}" in verdict


@pytest.mark.parametrize("args", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("place", ["variable", "login file"])
def test_token_is_noticed_and_never_shown(tmp_path: Path, place: str, args: tuple[str, ...]) -> None:
    (tmp_path / "token").write_text("" if place == "variable" else SENTINEL)
    variables = {"HF_HOME": str(tmp_path)} | ({"HF_TOKEN": SENTINEL} if place == "variable" else {})
    done = run_doctor(*args, cwd=tmp_path, **variables)
    assert f"there, from {'HF_TOKEN' if place == 'variable' else 'the login file'}" in done.stdout
    assert SENTINEL not in done.stdout + done.stderr


def test_facts_do_not_hold_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(SENTINEL)
    monkeypatch.setenv("HF_TOKEN", SENTINEL)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    facts = doctor.collect()
    assert facts.token_from == "HF_TOKEN"  # noqa: S105 (a name, not a token)
    assert SENTINEL not in repr(facts)


def test_password_in_a_proxy_or_endpoint_is_not_shown(tmp_path: Path) -> None:
    for variables in (
        {"HF_ENDPOINT": "http://me:sesame@127.0.0.1:9"},
        {"HTTPS_PROXY": "http://me:sesame@127.0.0.1:9", "https_proxy": "http://me:sesame@127.0.0.1:9"},
        {"HF_ENDPOINT": "http://127.0.0.1:sesame"},
    ):
        done = run_doctor(cwd=tmp_path, HF_HUB_OFFLINE="0", **variables)
        assert "! warn" in done.stdout
        assert done.returncode == 0
        assert "sesame" not in done.stdout + done.stderr


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


def test_loads_none_of_the_heavy_packages(tmp_path: Path) -> None:
    code = (
        "import sys; from toolkit.cli import main; main(['doctor', '--json'])\n"
        "heavy = 'torch transformers trl peft datasets accelerate bitsandbytes numpy unsloth vllm'.split()\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
