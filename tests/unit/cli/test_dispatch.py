"""The `toolkit` command: what a person sees who mistypes it, asks for help, or pipes it away."""

from __future__ import annotations

import json

import pytest

from toolkit import __version__, cli


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["doktor"], "did you mean doctor?"),
        (["no-such-verb"], "one of doctor"),
        ([], "one of doctor"),
        (["--verson"], "did you mean --version?"),
        (["--json", "doctor"], "toolkit doctor --json"),
        (["doctor", "--jsn"], "did you mean --json?"),
        (["doctor", "everything"], "everything"),
        (["doctor", "--json", "maybe"], "maybe"),
        (["reward"], "one of list, show"),
        (["reward", "chek"], "did you mean check?; see toolkit reward --help"),
        (["reward", "--json", "check"], "toolkit reward check --json"),
        (["reward", "check", "correct", "--datset", "x"], "did you mean --dataset?"),
        (["reward", "check", "correct", "format"], "unexpected argument 'format'"),
        (["reward", "check", "correct", "--n_rows", "0"], "--n_rows is 0"),
        (["reward", "check", "correct", "--dataset", "no-such.jsonl"], "no-such.jsonl does not exist"),
        (["reward", "score", "--reward", "correct"], "no --input given"),
        (["reward", "score", "--reward", "correct,correct", "--input", "x"], "has 'correct' twice"),
    ],
)
def test_bad_input_is_one_line_and_code_2(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert said in shown.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"toolkit {__version__}\n"


@pytest.mark.parametrize("verb", ["list", "show", "score", "try", "check", "attack", "stats"])
def test_help_of_reward_names_its_verbs(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reward", "--help"]) == 0
    assert f"• {verb}" in capsys.readouterr().out
    assert cli.main(["reward", verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: toolkit reward {verb} [-h]")


def test_flag_before_the_target_does_not_take_it_for_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reward", "attack", "--json", "format", "--n_rows", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["reward"] == "format"


@pytest.mark.parametrize("args", [["--help"], ["doctor", "--help"], ["doctor", "--json", "-h"]])
def test_help_names_verbs_and_flags_without_their_floor(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: toolkit{' doctor' if 'doctor' in args else ''} [-h]")
    assert ("--json" if "doctor" in args else "• doctor") in shown
