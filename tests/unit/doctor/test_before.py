"""What a run on a card takes, and what stops it before anything is fetched or loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.paths import CONFIGS
from tests.unit.doctor.machines import (
    CPU_BUILD,
    CUDA_12_6,
    CUDA_13,
    GTX_1080,
    RTX_4090,
    RTX_5090,
    T4,
    V100,
    packages,
    with_card,
)
from toolkit.compat import versions
from toolkit.doctor import Facts, before, best_first
from toolkit.doctor.before import what_stops
from toolkit.errors import BackendError
from toolkit.launch import frame
from toolkit.machine.devices import Gpu
from toolkit.settings import GrpoSettings


@pytest.mark.parametrize(
    ("machine", "name", "remedy"),
    [
        (with_card(RTX_4090, driver_cuda=(12, 4)), "driver", "update the NVIDIA driver"),
        (with_card(RTX_4090, torch=CPU_BUILD), "torch build", "+cu130"),
        (with_card(V100), "kernels", "+cu126"),
        (with_card(RTX_5090, torch=CUDA_12_6), "kernels", "+cu130"),
        (with_card(RTX_4090, packages=packages("vllm-bnb-plugin")), "vllm-bnb-plugin", "vllm-bnb-plugin"),
        (with_card(RTX_4090, packages=packages("triton")), "triton", "triton"),
        (with_card(RTX_4090, packages=packages("peft")), "peft", "peft"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_run_on_the_card_would_survive_stops_it(machine: Facts, name: str, remedy: str) -> None:
    first = what_stops(machine)[0]
    assert first.name == name
    assert remedy in first.next_step


@pytest.mark.parametrize(
    "machine", [with_card(RTX_4090), with_card(T4), with_card(RTX_4090, packages=packages("unsloth", "vllm"))]
)
def test_a_machine_in_order_starts(machine: Facts) -> None:
    assert what_stops(machine) == []


def test_a_recipe_stops_with_the_line_that_fixes_it_and_goes_on_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "find_gpus", lambda: ([RTX_4090], ""))
    monkeypatch.setattr(before, "collect", lambda **_: with_card(GTX_1080, driver_cuda=(12, 4)))
    monkeypatch.setattr("toolkit.compat.environment.set_before_imports", lambda situation: ({}, []))
    argv = ["--output_dir", str(tmp_path / "run"), "--backend", "transformers"]
    with pytest.raises(BackendError, match=r"driver: .*wanted CUDA 13.0 for torch: driver 580.*; update the NVIDIA"):
        frame.prepare(GrpoSettings, argv, CONFIGS.parent / "gsm8k_r1.py")
    assert not (tmp_path / "run").exists()
    session = frame.prepare(GrpoSettings, [*argv, "--check_machine", "false"], CONFIGS.parent / "gsm8k_r1.py")
    assert session.backend.on_gpu


def cards(*found: tuple[str, float, tuple[int, int]]) -> list[Gpu]:
    return [
        replace(RTX_4090, index=i, visible_as=str(i), name=name, total_gib=gib, compute_capability=capability)
        for i, (name, gib, capability) in enumerate(found)
    ]


OLD, SMALL, LARGE = ("GTX 1050", 4.0, (6, 1)), ("RTX 3060", 12.0, (8, 6)), ("RTX 3090", 24.0, (8, 6))
LARGE_AND_OLD = ("Tesla V100", 32.0, (7, 0))


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        ([OLD, LARGE], "1"),
        ([SMALL, LARGE], "1"),
        ([LARGE, ("RTX 3090", 23.99, (8, 6))], "0"),  # equal, but for what the desktop's card shows
        ([LARGE_AND_OLD, SMALL], "1"),  # the build of torch that is here has no kernels for Volta
    ],
)
def test_the_largest_card_that_kernels_exist_for_is_taken(
    found: list[tuple[str, float, tuple[int, int]]], taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(versions, "find_build", lambda name: CUDA_13)
    assert best_first(cards(*found))[0].visible_as == taken
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # whose order is a person's
    assert best_first(cards(*found))[0].visible_as == "0"
