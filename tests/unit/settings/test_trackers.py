"""`--report_to`: known by transformers, installed, and found out before anything loads."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from toolkit.errors import SettingsError
from toolkit.settings import GrpoSettings, check
from toolkit.settings.parse import parse
from toolkit.settings.trackers import TRACKERS, trackers


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on an import path where nothing else is installed."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)  # another test may have read event files
    return tmp_path


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()


def test_they_are_those_of_transformers() -> None:
    """Read from its source: to import it takes seconds."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "integrations" / "integration_utils.py").read_text()
    (table,) = re.findall(r"^INTEGRATION_TO_CALLBACK = \{(.*?)^\}", source, re.M | re.S)
    assert set(TRACKERS) == set(re.findall(r'^    "(\w+)": \w+Callback,', table, re.M))


def test_tensorboard_is_taken_by_default_where_it_is_installed(packages: Path) -> None:
    assert trackers(["auto"]) == trackers(["all"]) == trackers(["none"]) == trackers([]) == []
    install(packages, "tensorboardX", "trackio", "comet_ml")
    assert trackers(["auto"]) == ["tensorboard"]
    assert trackers(["all"]) == ["tensorboard", "trackio"]  # Comet's without a key, and nobody named it
    assert trackers(["trackio", "tensorboard", "trackio"]) == ["trackio", "tensorboard"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tensorbord"], "--report_to is 'tensorbord'; did you mean tensorboard?"),
        (["paper"], "wanted one of azure_ml, clearml"),
        (["trackio", "wandb"], "--report_to wandb: it is not installed; wanted an installed tracker; pip install"),
        (["azure_ml"], "pip install azureml-sdk"),  # found two packages deep
        (["none", "trackio"], "none beside 1 more"),
        (["kubeflow"], "without KUBEFLOW_TRAINER_SERVER_URL"),
    ],
)
def test_what_cannot_be_reported_to_is_one_line(
    packages: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    install(packages, "trackio", "transformers")
    monkeypatch.delenv("KUBEFLOW_TRAINER_SERVER_URL", raising=False)
    (packages / "wandb").mkdir()  # what wandb leaves behind in a working directory is no package
    with pytest.raises(SettingsError) as refused:
        trackers(given)
    assert said in str(refused.value)


def test_the_flag_takes_several_and_is_checked_with_the_others() -> None:
    settings = parse(GrpoSettings, ["--report_to", "tensorbord", "wandb"])
    assert settings.record.report_to == ("tensorbord", "wandb")
    with pytest.raises(SettingsError, match="did you mean tensorboard"):
        check(settings)
    assert parse(GrpoSettings, [], [("mine.yaml", {"report_to": "none"})]).record.report_to == ("none",)
