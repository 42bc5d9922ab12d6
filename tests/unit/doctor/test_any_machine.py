"""Whatever a machine may be, the doctor has a verdict, and one line for everything that is wrong."""

from __future__ import annotations

import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from rich.console import Console

from tests.unit.doctor.machines import LINUX, STALE, WINDOWS
from toolkit import doctor
from toolkit.compat import environment
from toolkit.compat.versions import Build, Conflict, Package
from toolkit.doctor.facts import Disk, Facts
from toolkit.doctor.system import Shell, Wsl
from toolkit.machine.devices import CardProcess, Gpu
from toolkit.machine.hub import Hub

VERSIONS = st.sampled_from(["2.13.0", "2.10.0", "2.15.0", "1.0", "5.17.0", "0.0.32.post2", "2.14.0.dev20260901+git1a"])
CUDA = st.none() | st.tuples(st.sampled_from([11, 12, 13, 14]), st.integers(0, 9))
BUILDS = st.builds(Build, st.sampled_from(["2.13.0", "2.10.0+cu128", "2.13.0a0+git1", "2.13.0+rocm7.0"]), CUDA)
GPUS = st.builds(
    Gpu,
    index=st.integers(0, 7),
    name=st.sampled_from(["NVIDIA X", "NVIDIA GeForce [RTX] 9090"]),
    total_gib=st.floats(1, 300),
    free_gib=st.floats(0, 300),
    compute_capability=st.tuples(st.integers(2, 14), st.integers(0, 9)),
    driver_version=st.just("470.1"),
    visible_as=st.sampled_from(["0", "3", "MIG-1", "GPU-a"]),
)
NAMES = [r.name for r in (*LINUX.base, *LINUX.gpu)] + ["triton", "torchvision", "triton-windows"]
DISKS = st.builds(Disk, st.just("/d"), st.none() | st.floats(0, 100), st.booleans())
SHELLS: dict[str, list[Shell]] = {"Linux": ["bash"], "Darwin": ["bash"], "Windows": ["cmd", "powershell", "bash"]}


@st.composite
def machines(draw: st.DrawFn) -> Facts:
    name = draw(st.sampled_from(["Linux", "Windows", "Darwin", "FreeBSD"]))
    names = st.sampled_from(NAMES)
    missing_too = st.builds(Package, st.none() | VERSIONS, st.booleans())
    return Facts(
        python=draw(st.tuples(st.just(3), st.integers(9, 15), st.integers(0, 3))),
        system=name,
        wsl=draw(
            st.none() | st.builds(Wsl, st.floats(1, 64), st.sampled_from([None, "", "-1", "60000"]), st.booleans())
        )
        if name == "Linux"
        else None,
        shell=draw(st.sampled_from(SHELLS.get(name, ["bash"]))),
        gpus=tuple(draw(st.lists(GPUS, max_size=3))),
        why_no_gpu=draw(
            st.sampled_from(["no CUDA device (driver not loaded)", "CUDA_VISIBLE_DEVICES hides every device", "x"])
        ),
        vendors=tuple(draw(st.lists(st.sampled_from(["AMD", "Intel", "NVIDIA"]), unique=True))),
        driver_cuda=draw(CUDA),
        processes=tuple(
            draw(
                st.lists(
                    st.builds(CardProcess, st.integers(1), st.sampled_from(["", "p"]), st.none() | st.floats(0, 9))
                )
            )
        ),
        tested=WINDOWS if name == "Windows" else LINUX,
        packages=draw(st.dictionaries(names, missing_too)),
        conflicts=tuple(
            draw(st.lists(st.builds(Conflict, names, st.builds(Requirement, names), st.none() | VERSIONS), max_size=3))
        ),
        torch=draw(st.none() | BUILDS),
        torchvision=draw(st.none() | BUILDS),
        work=draw(DISKS),
        model_cache=draw(DISKS),
        hub=draw(
            st.sampled_from([Hub("h", True), Hub("h", False, "why"), Hub("", False, "why"), Hub("", None, "why")])
        ),
        token_from=draw(st.sampled_from(["", "HF_TOKEN"])),
        compiled_by=draw(st.just({}) | st.just(STALE)),
        variables=draw(st.dictionaries(st.sampled_from(environment.WATCHED), st.sampled_from(["1", "0", "x", "true"]))),
    )


@settings(deadline=None)
@given(machines())
def test_every_description_has_a_verdict_and_one_line_for_what_is_wrong(machine: Facts) -> None:
    report = doctor.examine(machine)
    json.dumps(report.as_json())
    for check in report.findings:
        assert check.found
        assert not any("\n" in text for text in (check.found, check.wanted, check.next_step))
        if check.level in ("amber", "red"):
            assert check.next_step, f"{check.name}: {check.found}, and no way out"
        if machine.shell != "bash":
            assert not check.next_step.startswith(("export ", "unset ", "rm ", "kill "))
        if machine.shell == "powershell":
            assert "&&" not in check.next_step
            assert not check.next_step.startswith("set ")
    screen = Console(width=80, file=io.StringIO(), color_system=None, _environ={})
    screen.print(doctor.render(report), crop=False)
