"""The tested set has one source, and what is installed is read without importing it."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from toolkit.compat import versions
from toolkit.compat.versions import Build
from toolkit.errors import ContractError

MakePackage = Callable[..., None]
OTHER_PLATFORM = "linux" if sys.platform == "win32" else "win32"


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    """Put a distribution that raises when it is imported on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, version: str, requires: tuple[str, ...] = (), version_py: str = "") -> None:
        about = tmp_path / f"{name}-{version}.dist-info"
        about.mkdir()
        lines = [
            f"Name: {name}",
            f"Version: {version}",
            "Requires-Python: >=3.11",
            *(f"Requires-Dist: {line}" for line in requires),
        ]
        (about / "METADATA").write_text("Metadata-Version: 2.4\n" + "\n".join(lines) + "\n")
        module = tmp_path / name
        module.mkdir()
        (module / "__init__.py").write_text("raise RuntimeError('imported')\n")
        (module / "version.py").write_text(version_py)

    return make


def test_tested_set_is_what_pyproject_declares() -> None:
    project = tomllib.loads(versions.PYPROJECT.read_text(encoding="utf-8"))["project"]
    tested = versions.tested_set()
    assert len(tested.base) == len(project["dependencies"]) > 10
    assert {r.name: str(r.specifier) for r in tested.base}["trl"].startswith("==")
    extra = project["optional-dependencies"]["gpu"]
    assert len(tested.gpu) == len([line for line in extra if f"sys_platform == '{OTHER_PLATFORM}'" not in line]) > 0
    assert not tested.python.contains("3.10.14")


def test_installed_copy_without_pyproject_reads_its_metadata(
    make_package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "PYPROJECT", Path("/nowhere/pyproject.toml"))
    make_package("grpo_toolkit", "9.9", ("trl==9.9", 'vllm==9.9; extra == "gpu"', 'pytest>=9; extra == "test"'))
    tested = versions.tested_set()
    assert [r.name for r in tested.base] == ["trl"]
    assert [r.name for r in tested.gpu] == ["vllm"]
    assert not tested.python.contains("3.10.14")


def test_checkout_wins_over_the_metadata_of_an_old_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pyproject.toml"
    monkeypatch.setattr(versions, "PYPROJECT", path)
    path.write_text(
        '[project]\nname = "grpo-toolkit"\nrequires-python = ">=3.12"\ndependencies = ["trl==9.9"]\n'
        "optional-dependencies = {gpu = [\"vllm==9.9; sys_platform == 'nowhere'\"]}\n"
    )
    assert [str(r) for r in versions.tested_set().base] == ["trl==9.9"]
    assert versions.tested_set().gpu == ()
    path.write_text('[project]\nname = "somebody-elses"\ndependencies = ["trl==9.9"]\n')
    assert len(versions.tested_set().base) > 10
    path.write_text("[project\n")
    with pytest.raises(ContractError, match=r"pyproject\.toml"):
        versions.tested_set()


def test_every_base_package_is_found_with_its_module() -> None:
    for requirement in versions.tested_set().base:
        package = versions.find_package(requirement.name)
        assert package is not None, requirement.name
        assert package.has_module, f"{requirement.name}: its module goes by another name"
        assert package.version == metadata.version(requirement.name)


def test_package_is_described_without_importing_it(make_package: MakePackage, tmp_path: Path) -> None:
    make_package("heavything", "1.2.3")
    assert versions.find_package("heavything") == versions.Package("1.2.3", has_module=True)
    for file in (tmp_path / "heavything").iterdir():
        file.unlink()
    assert versions.find_package("heavything") == versions.Package("1.2.3", has_module=False), "a leftover folder"
    assert versions.find_package("never-heard-of-it") is None
    assert "heavything" not in sys.modules


def test_conflicts_are_those_that_apply_here(make_package: MakePackage) -> None:
    make_package("dependency", "2.0")
    make_package(
        "owner",
        "1.0",
        requires=(
            "dependency<2",
            "dependency>=1",
            "absent",
            'absent; extra == "more"',
            'absent; sys_platform == "nowhere"',
            'gone; extra == "more" or python_version > "3"',
        ),
    )
    found = [(str(c.requirement), c.found) for c in versions.find_conflicts(["owner", "absent"])]
    assert found == [
        ("dependency<2", "2.0"),
        ("absent", None),
        ('gone; extra == "more" or python_version > "3"', None),
    ]


@pytest.mark.parametrize(
    ("source", "build"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n", Build("2.13.0+cpu", None)),
        ("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n", Build("2.13.0+cu130", (13, 0))),
        ("__version__ = '2.13.0a0+git1'\ncuda: Optional[str] = '12.8'\n", Build("2.13.0a0+git1", (12, 8))),
        ("__version__ = '0.28.0+cu126'\n_check_cuda_version()\n", Build("0.28.0+cu126", (12, 6))),
        ("", None),
    ],
)
def test_build_is_read_from_version_py(make_package: MakePackage, source: str, build: Build | None) -> None:
    make_package("heavything", "1.2.3", version_py=source)
    assert versions.find_build("heavything") == build


def test_local_version_meets_the_pin_and_another_release_does_not() -> None:
    torch = next(r for r in versions.tested_set().base if r.name == "torch")
    pinned = str(torch.specifier).removeprefix("==")
    assert versions.meets(torch, f"{pinned}+cpu")
    assert not versions.meets(torch, "1.0.0+cpu")
    assert versions.pip_line(torch) == f'pip install "torch=={pinned}"'
