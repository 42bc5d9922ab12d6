"""The doctor on this machine, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SENTINEL = "hf_SENTINELsentinelSENTINEL"


def run_doctor(*args: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`toolkit doctor` in a process of its own, which asks no network unless told to."""
    outside = ("HF_", "HUGGING_FACE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(outside)}
    environment |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"} | variables
    command = [sys.executable, "-m", "toolkit", "doctor", *args]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_this_machine_can_run_the_main_job(tmp_path: Path) -> None:
    done = run_doctor("--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert set(report) == {"verdict", "can_run", "tested_set", "checks"}
    assert report["can_run"], report["verdict"]
    assert done.returncode == 0
    assert all(set(check) == {"name", "status", "found", "wanted", "remedy"} for check in report["checks"])


def test_terminal_without_unicode_gets_plain_marks(tmp_path: Path) -> None:
    done = run_doctor(cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.stderr == ""
    assert "+ ok" in done.stdout


def test_narrow_terminal_gets_whole_remedies(tmp_path: Path) -> None:
    done = run_doctor(cwd=tmp_path, COLUMNS="20", HF_HOME=str(tmp_path))
    assert "Hub token → hf auth login" in done.stdout.splitlines()


@pytest.mark.parametrize("args", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("place", ["variable", "login file"])
def test_token_is_noticed_and_never_shown(tmp_path: Path, place: str, args: tuple[str, ...]) -> None:
    (tmp_path / "token").write_text("" if place == "variable" else SENTINEL)
    variables = {"HF_HOME": str(tmp_path)} | ({"HF_TOKEN": SENTINEL} if place == "variable" else {})
    done = run_doctor(*args, cwd=tmp_path, **variables)
    assert f"there, from {'HF_TOKEN' if place == 'variable' else 'the login file'}" in done.stdout
    assert SENTINEL not in done.stdout + done.stderr


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
