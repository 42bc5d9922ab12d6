"""The data file of tested sets: nothing in it can drift from the pins, and no machine falls between its rows."""

from __future__ import annotations

import re
import string
import tomllib

import pytest

from toolkit.compat import tested_sets, versions
from toolkit.compat.tested_sets import MachineSet, pins
from toolkit.machine.devices import Gpu

SETS = tested_sets.load()
PROJECT = tomllib.loads(versions.PYPROJECT.read_text(encoding="utf-8"))["project"]
PINNED = {
    re.split(r"[=<>;]", line)[0]: line.partition("==")[2].partition(";")[0]
    for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["gpu"])
    if "==" in line.partition(";")[0]
}
CAPABILITIES = [(major, minor) for major in range(3, 15) for minor in range(10)]
ON_A_CARD = [row for row in SETS.sets if row.capability and not row.impossible]


def ids(row: MachineSet) -> str:
    return row.name


def test_no_version_stands_here_that_pyproject_pins() -> None:
    assert {"torch", "trl", "unsloth", "vllm"} <= set(PINNED)
    assert {name: pin for name, pin in pins(versions.tested_set()).items() if name in PINNED} == PINNED
    for row in SETS.sets:
        asked = {name for _, name, _, _ in string.Formatter().parse(row.install) if name}
        assert asked <= set(PINNED), row.name
        literal = re.findall(r"([\w-]+)[=<>]=?\d", row.install)
        assert not set(literal) & set(PINNED), f"{row.name}: write {{package}}"
    for variant in SETS.variants:
        assert set(variant.differs) | set(variant.without) <= set(PINNED)
        assert all(PINNED[name] != version for name, version in variant.differs.items()), "it differs in nothing"


@pytest.mark.parametrize("system", ["Linux", "Windows", "Darwin", "FreeBSD"])
def test_every_machine_has_one_set(system: str) -> None:
    platform = system if system != "FreeBSD" else "Linux"
    assert SETS.for_machine(system, None).cuda is None
    for capability in CAPABILITIES:
        covering = [
            row
            for row in SETS.sets
            if platform in row.platforms and row.capability and row.capability[0] <= capability <= row.capability[1]
        ]
        assert len(covering) == (0 if system == "Darwin" else 1), capability
        found = SETS.for_machine(system, capability)
        assert found == (covering[0] if covering else SETS.for_machine(system, None))


@pytest.mark.parametrize("row", ON_A_CARD, ids=ids)
def test_a_set_suits_the_cards_that_it_is_for(row: MachineSet) -> None:
    assert row.capability
    assert row.cuda
    build = SETS.build_of(row.cuda, PINNED["torch"])
    assert build is not None
    cards = [c for c in CAPABILITIES if row.capability[0] <= c <= row.capability[1] and c < (13, 0)]
    assert cards
    for capability in cards:
        card = Gpu(0, "NVIDIA X", 16.0, 16.0, capability, "580")
        assert build.has_kernels_for(capability)
        assert row.dtype == ("bfloat16" if card.has_bf16 else "float16")


@pytest.mark.parametrize("row", [row for row in SETS.sets if not row.impossible], ids=ids)
def test_the_install_line_brings_what_the_set_says(row: MachineSet) -> None:
    tested = versions.tested_set()
    line, system = row.install_line(tested), row.platforms[0]
    assert "\n" not in line
    assert "{" not in line
    build = f"cu{row.cuda[0]}{row.cuda[1]}" if row.cuda else "cpu"
    assert row.torch_line(tested, system).endswith("" if system == "Darwin" else f"/{build}")
    # PyPI's torch is the CUDA 13.0 build on Linux, and a CPU build on Windows and macOS
    has_it_on_pypi = row.cuda == (13, 0) if system == "Linux" else row.cuda is None
    assert (f"--extra-index-url https://download.pytorch.org/whl/{build}" in line) != has_it_on_pypi
    # On Windows the extra leaves vLLM out by itself
    assert ("[gpu]" in line) == (row.cuda is not None and (not row.without_vllm or system == "Windows"))
    assert row.ran


def test_the_newest_known_wheels_of_a_major_stand_for_those_after_it() -> None:
    def cuda_of(cuda: tuple[int, int], torch: str = "2.13.0") -> tuple[int, int] | None:
        build = SETS.build_of(cuda, torch)
        return build.cuda if build else None

    assert cuda_of((13, 4)) == (13, 2)
    assert cuda_of((12, 9)) == (12, 8)
    assert cuda_of((12, 4)) is None, "of older releases nothing is known"
    assert cuda_of((14, 0)) is None
    assert [cuda_of((12, 8), torch) for torch in ("2.9.1", "2.10.0+cu128", "2.11.0", "2.12.0")] == [(12, 8)] * 4
    builds = [SETS.build_of((12, 8), torch) for torch in ("2.10.0+cu128", "2.11.0+cu128")]
    assert [build.has_kernels_for((7, 0)) for build in builds if build] == [True, False]
