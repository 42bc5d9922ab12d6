"""The doctor over machines that nobody here owns: each is a description, and what to do there is judged from it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from tests.unit.doctor.machines import (
    A100,
    B200,
    CPU_BOX,
    CPU_BUILD,
    CUDA_12_6,
    GPU_EXTRA,
    GTX_1080,
    H200,
    LINUX,
    MACOS,
    RTX_3060,
    RTX_4090,
    RTX_5090,
    STALE,
    T4,
    TORCH,
    V100,
    V100_IN_ORDER,
    WINDOWS,
    WSL_IN_ORDER,
    card,
    change,
    packages,
    windows,
    with_card,
)
from toolkit import doctor
from toolkit.compat.tested_sets import pins
from toolkit.compat.versions import Build, Conflict, Package
from toolkit.display.findings import WORDS
from toolkit.doctor.facts import Disk, Facts
from toolkit.doctor.system import Wsl
from toolkit.machine.devices import CardProcess
from toolkit.machine.hub import Hub
from toolkit.sandbox import Isolation

TORCH_CU130 = f'pip install "torch=={TORCH}+cu130" --index-url https://download.pytorch.org/whl/cu130'
TORCH_CU126 = f'pip install "torch=={TORCH}+cu126" --index-url https://download.pytorch.org/whl/cu126'
GPU_LINE = 'pip install -e ".[gpu]"'
GPU_LINE_WINDOWS = f"{GPU_LINE} --extra-index-url https://download.pytorch.org/whl/cu130"
EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64,expandable_segments:True"}
FOREIGN = (CardProcess(4242, "python3", 18.0), CardProcess(77, "ollama", None))

# Machines in order: the dtype, what samples the completions, and the set that they belong to
IN_ORDER: dict[str, tuple[Facts, str, str, str]] = {
    "RTX 3060": (with_card(RTX_3060), "bfloat16", "with unsloth and vLLM", "Linux, CUDA 13"),
    "RTX 4090": (with_card(RTX_4090), "bfloat16", "with unsloth and vLLM", "Linux, CUDA 13"),
    "RTX 5090": (with_card(RTX_5090), "bfloat16", "with unsloth and vLLM", "Linux, CUDA 13, Blackwell"),
    "T4": (with_card(T4), "float16", "with unsloth and vLLM", "Linux, CUDA 13, Turing"),
    "V100": (V100_IN_ORDER, "float16", "with unsloth", "Linux, CUDA 12.6, Volta"),
    "A100": (with_card(A100), "bfloat16", "with unsloth and vLLM", "Linux, CUDA 13"),
    "H200": (with_card(H200), "bfloat16", "with unsloth and vLLM", "Linux, CUDA 13"),
    "B200": (with_card(B200), "bfloat16", "with unsloth and vLLM", "Linux, CUDA 13, Blackwell"),
    "WSL": (WSL_IN_ORDER, "bfloat16", "with unsloth and vLLM", "Linux, CUDA 13"),
    "Windows, RTX 4090": (windows(RTX_4090), "bfloat16", "with unsloth", "Windows, CUDA 13"),
    "Windows, RTX 2080": (windows(replace(T4, name="RTX 2080")), "float16", "with unsloth", "Windows, CUDA 13, Turing"),
    "Windows, no card": (windows(None), "float32", "embedded model on the CPU", "Windows, CPU"),
    "macOS": (MACOS, "float32", "embedded model on the CPU", "macOS, CPU"),
    "no card": (CPU_BOX, "float32", "embedded model on the CPU", "Linux, CPU"),
    "AMD": (change(CPU_BOX, vendors=("AMD",)), "float32", "embedded model on the CPU", "Linux, CPU"),
}


@pytest.mark.parametrize(("machine", "dtype", "job", "name"), IN_ORDER.values(), ids=list(IN_ORDER))
def test_a_machine_in_order_can_run_and_knows_its_set(machine: Facts, dtype: str, job: str, name: str) -> None:
    report = doctor.examine(machine)
    found = {check.name: check for check in report.findings}
    assert found["dtype"].found.startswith(dtype)
    assert report.can_run
    assert report.verdict.endswith(job)
    assert found["tested set"].found.startswith(f"{name}: ")
    amiss = [finding for finding in report.findings if finding.level in ("amber", "red")]
    assert amiss == ([found["platform"]] if machine.system == "Windows" else []), "Windows alone wants WSL"


# id: machine, the check to look at, its status, a part of its next step, and whether the main job can run
CASES: dict[str, tuple[Facts, str, str, str, bool]] = {
    "old Python": (change(CPU_BOX, python=(3, 10, 12)), "Python", "fail", "newer Python", False),
    # Which machine
    "Windows": (windows(RTX_4090), "platform", "warn", f"wsl --install, then in it: {GPU_LINE}", True),
    "WSL that ends": (change(WSL_IN_ORDER, wsl=Wsl(15.5, "")), "platform", "warn", "vmIdleTimeout=-1", True),
    "WSL, unknown": (change(WSL_IN_ORDER, wsl=Wsl(15.5)), "platform", "info", ".wslconfig under [wsl2]", True),
    "WSL with a Linux driver": (
        change(WSL_IN_ORDER, wsl=Wsl(31.0, "-1", has_linux_driver=True)), "WSL driver", "warn", "purge", True,
    ),
    "WSL without a driver": (change(CPU_BOX, wsl=Wsl(8.0, "-1")), "GPU", "info", "in Windows, not in WSL", True),
    "half a driver": (
        change(CPU_BOX, why_no_gpu="no CUDA device (driver/library version mismatch)"), "GPU", "warn", "reboot", True,
    ),
    "no driver": (change(CPU_BOX, vendors=("NVIDIA",)), "GPU", "warn", "nvidia.com/drivers", True),
    "a hidden card": (
        change(CPU_BOX, vendors=("NVIDIA",), why_no_gpu="CUDA_VISIBLE_DEVICES hides every device"),
        "GPU", "info", "", True,
    ),
    "Intel graphics": (change(CPU_BOX, vendors=("Intel",)), "GPU", "info", "", True),
    # Which card
    "GTX 1080": (with_card(GTX_1080), "kernels", "fail", "export CUDA_VISIBLE_DEVICES=-1", False),
    "GTX 1080 on Windows": (
        windows(GTX_1080, "cmd"), "kernels", "fail", 'set "CUDA_VISIBLE_DEVICES=-1"', False,
    ),
    "a card of the future": (
        with_card(card("NVIDIA R100", 280.0, (13, 0))), "kernels", "fail", "a newer torch", False,
    ),
    "two cards": (
        with_card(RTX_4090, gpus=(RTX_4090, replace(RTX_3060, index=1, visible_as="1"))),
        "GPU", "warn", "export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0", True,
    ),
    "two cards under PowerShell": (
        windows(RTX_4090, gpus=(RTX_4090, RTX_3060)),
        "GPU", "warn", "$env:CUDA_DEVICE_ORDER='PCI_BUS_ID'; $env:CUDA_VISIBLE_DEVICES='0'", True,
    ),
    "two cards under cmd": (
        windows(RTX_4090, "cmd", gpus=(RTX_4090, RTX_3060)),
        "GPU", "warn", 'set "CUDA_DEVICE_ORDER=PCI_BUS_ID" && set "CUDA_VISIBLE_DEVICES=0"', True,
    ),
    "a MIG slice": (
        with_card(replace(H200, visible_as="MIG-1", free_gib=3.0)), "GPU memory", "info", "toolkit plan --gpu", True,
    ),
    "a small card": (with_card(replace(RTX_3060, total_gib=7.6)), "GPU memory", "warn", "Qwen2.5-0.5B", True),
    "a card in use": (
        with_card(replace(RTX_4090, free_gib=3.0), processes=FOREIGN), "GPU memory", "warn", "kill 4242 77", True,
    ),
    "a card in use, from a container": (
        with_card(replace(RTX_4090, free_gib=3.0), processes=(CardProcess(4242, "", 18.0),)),
        "GPU memory", "warn", "nvidia-smi on the host", True,
    ),
    "a card in use, on Windows": (
        windows(replace(RTX_4090, free_gib=3.0), processes=FOREIGN), "GPU memory", "warn", "nvidia-smi", True,
    ),
    # Which torch for it
    "V100, CUDA 13 build": (with_card(V100), "kernels", "fail", TORCH_CU126, False),
    "V100, CUDA 12.8 build of 2.10": (
        change(V100_IN_ORDER, torch=Build("2.10.0+cu128", (12, 8))), "dtype", "info", "", True,
    ),
    "V100, CUDA 12.8 build of 2.11": (
        change(V100_IN_ORDER, torch=Build("2.11.0+cu128", (12, 8))), "kernels", "fail", TORCH_CU126, False,
    ),
    "V100 with vllm": (with_card(V100, torch=CUDA_12_6), "vllm", "fail", "pip uninstall -y vllm", False),
    "V100 without the extra": (
        change(V100_IN_ORDER, packages=packages(*GPU_EXTRA)), "GPU packages", "warn", f"torch=={TORCH}+cu126", True,
    ),
    "V100 without vllm": (V100_IN_ORDER, "vllm", "info", "", True),
    "Blackwell, CUDA 12.6 build": (with_card(RTX_5090, torch=CUDA_12_6), "kernels", "fail", TORCH_CU130, False),
    "Blackwell, CUDA 12.8 build": (
        with_card(B200, torch=Build("2.11.0+cu128", (12, 8)), packages=packages("vllm")), "dtype", "ok", "", True,
    ),
    "a CUDA release that nothing is known of": (
        with_card(RTX_4090, driver_cuda=(14, 0), torch=Build("2.19.0+cu140", (14, 0))), "dtype", "ok", "", True,
    ),
    "old xformers": (  # which runs Hopper's kernels on Blackwell (xformers#1329), so that Unsloth goes without
        with_card(B200, packages=packages(xformers="0.0.32.post2")), "xformers", "warn", '"xformers==', True,
    ),
    "CUDA 12 build beside vLLM": (with_card(RTX_4090, torch=CUDA_12_6), "vllm", "fail", TORCH_CU130, False),
    "a wheel of vLLM for CUDA 12": (
        with_card(RTX_4090, torch=CUDA_12_6, packages=packages(vllm=f"{pins(LINUX)['vllm']}+cu129")),
        "GPU packages", "ok", "", True,
    ),
    "CPU torch beside a card": (with_card(RTX_4090, torch=CPU_BUILD), "torch build", "fail", TORCH_CU130, False),
    "CPU torch on Windows": (windows(RTX_4090, torch=CPU_BUILD), "torch build", "fail", TORCH_CU130, False),
    "ROCm torch": (
        change(CPU_BOX, torch=Build(f"{TORCH}+rocm7.0", None)), "torch build", "warn", f"torch=={TORCH}+cpu", True,
    ),
    "no torch on a V100": (
        change(V100_IN_ORDER, torch=None, packages=packages("torch", "vllm")), "torch", "fail", TORCH_CU126, False,
    ),
    "old driver": (with_card(RTX_4090, driver_cuda=(12, 4)), "driver", "fail", "and reboot", False),
    "old driver under WSL": (change(WSL_IN_ORDER, driver_cuda=(12, 4)), "driver", "fail", "never in WSL", False),
    "old driver, CUDA 12 build": (
        with_card(RTX_4090, driver_cuda=(12, 4), torch=CUDA_12_6, packages=packages("vllm")), "driver", "ok", "", True,
    ),
    "old driver of a V100, CUDA 13 build": (
        with_card(V100, driver_cuda=(12, 4), packages=packages("vllm")), "driver", "ok", "", False,
    ),
    "Windows without triton": (
        windows(RTX_4090, packages=packages("triton", "triton-windows", tested=WINDOWS)),
        "triton", "fail", 'pip install "triton-windows', False,
    ),
    "Linux without triton": (
        with_card(
            RTX_4090,
            packages=packages("triton"),
            conflicts=(Conflict("torch", Requirement("triton==3.7.1"), None),),
        ),
        "triton", "fail", 'pip install "triton==3.7.1"', False,
    ),
    "torchvision beside a CPU torch": (
        change(CPU_BOX, torchvision=Build("0.28.0+cu130", (13, 0))),
        "torchvision", "warn", "pip uninstall -y torchvision", True,
    ),
    "torchvision of another CUDA, on Windows": (
        windows(RTX_4090, torchvision=Build("0.28.0+cpu", None)),
        "torchvision", "fail", "-y torchvision; pip install torchvision", False,
    ),
    # Which packages
    "another trl": (
        change(CPU_BOX, packages=packages(trl="1.14.0")), "trl", "warn", f'"trl=={pins(LINUX)["trl"]}"', True,
    ),
    "no trl": (change(CPU_BOX, packages=packages("trl")), "trl", "fail", 'pip install "trl==', False),
    "trl's folder is gone": (
        change(CPU_BOX, packages={**packages(), "trl": Package("1.15.0", has_module=False)}),
        "trl", "fail", 'pip install --force-reinstall --no-deps "trl==', False,
    ),
    "torch 2.11 on CUDA 13": (
        with_card(H200, torch=Build("2.11.0+cu130", (13, 0)), packages=packages("vllm", torch="2.11.0")),
        "torch", "warn", TORCH_CU130, True,
    ),
    "transformers refuses": (
        change(CPU_BOX, conflicts=(Conflict("transformers", Requirement("tokenizers<0.24"), "0.25.0"),)),
        "tokenizers", "fail", 'pip install "tokenizers<0.24"', False,
    ),
    "a card without the extra": (
        with_card(RTX_4090, packages=packages(*GPU_EXTRA)), "GPU packages", "warn", GPU_LINE, True,
    ),
    "Windows without the extra": (
        windows(RTX_4090, packages=packages("unsloth", "unsloth_zoo", tested=WINDOWS)),
        "GPU packages", "warn", GPU_LINE_WINDOWS, True,
    ),
    "vllm without its plugin": (
        with_card(RTX_4090, packages=packages("vllm-bnb-plugin")),
        "vllm-bnb-plugin", "fail", 'pip install "vllm-bnb-plugin==', False,
    ),
    "Unsloth takes another argument": (
        with_card(RTX_4090, broken_calls=("load_vllm is called with x; for the tested release: pip install y",)),
        "Unsloth calls", "fail", "for the tested release: pip install y", False,
    ),
    "Unsloth takes another argument, no card": (
        change(CPU_BOX, broken_calls=("load_vllm is called with x; for the tested release: pip install y",)),
        "Unsloth calls", "info", "pip install y", True,
    ),
    "stale compiled cache": (
        with_card(RTX_4090, compiled_by=STALE), "compiled cache", "info", "rm -r unsloth_compiled_cache", True,
    ),
    "stale compiled cache under cmd": (
        windows(RTX_4090, "cmd", compiled_by=STALE), "compiled cache", "info", "rmdir /s /q unsloth_compiled", True,
    ),
    # What surrounds it
    "expandable segments": (
        with_card(RTX_4090, variables=EXPANDABLE), "environment", "warn", "unset PYTORCH_CUDA_ALLOC_CONF", True,
    ),
    "Unsloth kept off the card": (
        with_card(RTX_4090, variables={"UNSLOTH_FORCE_CPU": "1"}),
        "environment", "fail", "unset UNSLOTH_FORCE_CPU", False,
    ),
    "little disk": (with_card(RTX_4090, work=Disk("/home/me", 8.0)), "disk, runs", "warn", "make room", True),
    "no disk": (change(CPU_BOX, work=Disk("/home/me", 0.2)), "disk, runs", "fail", "make room", False),
    "no network": (
        with_card(RTX_4090, hub=Hub("hub.example", False, "no answer in 2 s")),
        "network", "warn", "--model FOLDER", True,
    ),
    "offline": (with_card(RTX_4090, hub=Hub("", None, "HF_HUB_OFFLINE is set")), "network", "info", "", True),
}  # fmt: skip


@pytest.mark.parametrize(("machine", "name", "status", "next_step", "can_run"), CASES.values(), ids=list(CASES))
def test_machine(machine: Facts, name: str, status: str, next_step: str, can_run: bool) -> None:
    report = doctor.examine(machine)
    found = {check.name: check for check in report.findings}
    assert name in found
    assert WORDS[found[name].level] == status
    assert next_step in found[name].next_step
    assert bool(found[name].next_step) == bool(next_step)
    assert report.can_run == can_run, report.verdict


@pytest.mark.parametrize(
    ("machine", "verdict"),
    [
        (
            with_card(RTX_4090, packages=packages(*GPU_EXTRA)),
            "the main job can run here: on NVIDIA GeForce RTX 4090 with transformers",
        ),
        (
            with_card(RTX_4090, driver_cuda=(12, 4)),
            "the main job cannot run here: fix driver; "
            "with CUDA_VISIBLE_DEVICES=-1 the embedded model trains on the CPU",
        ),
        (with_card(RTX_4090, packages=packages("trl")), "the main job cannot run here: fix trl"),
    ],
)
def test_verdict(machine: Facts, verdict: str) -> None:
    assert doctor.examine(machine).verdict == verdict


@pytest.mark.parametrize(
    ("installed", "differing", "nearest"),
    [
        ({"torch": Package("2.11.0")}, [], "torch 2.11, CUDA 13"),
        ({"torch": Package("2.11.0"), "trl": Package("1.14.0")}, ["trl"], "torch 2.11, CUDA 13"),
        ({"trl": Package("1.14.0")}, ["trl"], "Linux, CUDA 13"),
        ({"torch": Package(f"{TORCH}+cu130")}, [], "Linux, CUDA 13"),
    ],
)
def test_other_releases_are_named_by_the_nearest_known_set(
    installed: dict[str, Package], differing: list[str], nearest: str
) -> None:
    said = doctor.examine(with_card(H200, packages=packages("vllm") | installed))
    assert said.tested_set["name"] == nearest
    assert list(said.tested_set["differing"]) == differing
    line = next(check.found for check in said.findings if check.name == "tested set")
    assert nearest in line
    assert all(name in line for name in differing)


def test_a_card_that_is_too_old_is_all_that_is_said_of_it() -> None:
    found = doctor.run_checks(with_card(GTX_1080, torch=CPU_BUILD, packages=packages(*GPU_EXTRA), driver_cuda=(12, 4)))
    assert [check.name for check in found if check.level == "red"] == ["kernels"]
    assert not {"torch build", "tested set", "vllm"} & {check.name for check in found}


def test_foreign_processes_are_named_with_what_they_hold() -> None:
    found = next(c for c in doctor.run_checks(CASES["a card in use"][0]) if c.name == "GPU memory").found
    assert "python3 (pid 4242) 18.0 GiB, ollama (pid 77)" in found


def test_what_the_recipes_set_anyway_is_not_a_finding() -> None:
    for variables in ({"UNSLOTH_VLLM_STANDBY": "1"}, {"HF_HUB_OFFLINE": "1"}):
        found = doctor.run_checks(with_card(RTX_4090, variables=variables))
        assert "environment" not in {check.name for check in found}
    assert "environment" not in {check.name for check in doctor.run_checks(windows(RTX_4090, variables=EXPANDABLE))}


def test_current_compiled_cache_is_fine() -> None:
    made = {name: pins(LINUX)[name] for name in ("unsloth", "trl")}
    found = doctor.run_checks(with_card(RTX_4090, compiled_by=made))
    assert "compiled cache" not in {check.name for check in found}


@pytest.mark.parametrize("width", [80, 120])
def test_commands_are_never_broken_and_the_verdict_stands_last(width: int) -> None:
    machine = windows(RTX_4090, torch=CPU_BUILD, packages=packages("unsloth", tested=WINDOWS, trl="1.14.0"))
    report = doctor.examine(machine)
    screen = Console(width=width, file=io.StringIO(), color_system=None, _environ={})
    screen.print(doctor.render(report), crop=False)
    lines = [line.rstrip() for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined] # a StringIO
    to_do = [check for check in report.findings if check.next_step]
    assert {"platform", "torch build", "trl", "GPU packages"} <= {check.name for check in to_do}
    assert max(len(check.next_step) for check in to_do) > 80 - len("platform → "), "none is long enough to be broken"
    whole = {line.partition(" → ")[0].strip(): line.partition(" → ")[2] for line in lines if " → " in line}
    assert whole == {check.name: check.next_step for check in to_do}, "a command must survive copying"
    assert next(iter(whole)) == "torch build", "what stops the main job stands first"
    blank = [number for number, line in enumerate(lines) if not line]
    assert " ".join(lines[blank[-1] :]).strip() == report.verdict
    assert all(len(line) <= width for line in lines if " → " not in line)


@pytest.mark.parametrize(
    ("isolation", "status", "said"),
    [
        (Isolation("namespaces", (("bubblewrap", "bwrap is not installed"),)), "ok", "namespaces"),
        (Isolation("rlimits", (("landlock", "the kernel lacks it"),)), "warn", "no landlock: the kernel lacks it"),
        (Isolation(None, (("bubblewrap", "Windows has none"),)), "info", "none: no bubblewrap: Windows has none"),
    ],
)
def test_the_sandbox_is_told_and_never_stops_the_main_job(isolation: Isolation, status: str, said: str) -> None:
    report = doctor.examine(change(CPU_BOX, isolation=isolation))
    (check,) = [check for check in report.findings if check.name == "sandbox"]
    assert WORDS[check.level] == status
    assert said in check.found
    assert bool(check.next_step) == (status == "warn")
    assert report.can_run
