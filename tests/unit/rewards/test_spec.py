"""`--reward` as text: where it is divided, which number is a weight, and what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import RewardError
from toolkit.rewards import spec


@pytest.mark.parametrize(
    ("part", "target", "weight"),
    [
        ("correct", "correct", None),
        ("correct:1", "correct", 1.0),
        ("my.py:brevity", "my.py:brevity", None),
        ("my.py:brevity:0.2", "my.py:brevity", 0.2),
        ("a.b:score:-1e-1", "a.b:score", -0.1),
        ("my.py:score2", "my.py:score2", None),
        (r"C:\rewards\mine.py:score:.5", r"C:\rewards\mine.py:score", 0.5),
        ("rubric:mine.yaml:2", "rubric:mine.yaml", 2.0),
        ("reward_model:3", "reward_model:3", None),
        ("reward_model:3:0.5", "reward_model:3", 0.5),
        ("http://host", "http://host", None),
        ("http://host:8000", "http://host:8000", None),
        ("HTTP://host:8000", "HTTP://host:8000", None),
        ("http://me:secret@host:8000", "http://me:secret@host:8000", None),
        ("https://[::1]:8000", "https://[::1]:8000", None),
        ("https://[::1]:8000:2", "https://[::1]:8000", 2.0),
        ("http://host:8000:0.5", "http://host:8000", 0.5),
        ("http://host:0.5", "http://host", 0.5),
        ("http://host:8000/score", "http://host:8000/score", None),
        ("http://host:8000/score:0.5", "http://host:8000/score", 0.5),
        ("http://host/score?v=1:2", "http://host/score?v=1", 2.0),
    ],
)
def test_a_number_at_the_end_is_the_weight_but_not_a_port(part: str, target: str, weight: float | None) -> None:
    assert spec.divided(part) == (target, weight)


def test_commas_divide_but_for_those_of_a_password() -> None:
    assert spec.weighted(" correct:1, my.py:brevity:0.2,format ") == [
        ("correct", 1.0),
        ("my.py:brevity", 0.2),
        ("format", 1.0),
    ]
    assert spec.parts_of("http://a/x%2Cy,http://me:pa,ss@b/y:2,http://c,d:e") == [
        "http://a/x%2Cy",
        "http://me:pa,ss@b/y:2",
        "http://c",
        "d:e",
    ]


@pytest.mark.parametrize("given", ["", ",", "correct,correct:2", "correct:nan", "my.py:f:inf"])
def test_what_names_no_rewards_is_refused(given: str) -> None:
    with pytest.raises(RewardError, match="--reward"):
        spec.weighted(given)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:hush@host:8000/score",
        "http://me:hush/hush@host/score",
        "https://host/score?token=hush",
        "http://hush@host",
        "http://me:hu,hush@host#hush",
    ],
)
def test_no_secret_is_shown_or_recorded_or_in_an_error(address: str) -> None:
    for text in (spec.shown(address), spec.shown(f"--reward={address}"), spec.recorded(f"correct,{address}:0.5")):
        assert "hush" not in text
        assert "host" in text
    for bad in (f"{address},{address}", f"{address}:nan"):
        with pytest.raises(RewardError) as caught:
            spec.weighted(bad)
        assert "hush" not in str(caught.value)


def test_a_run_keeps_files_by_their_whole_path_and_weights_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").touch()
    (tmp_path / "j.yaml").touch()
    kept = spec.recorded("my.py:score:0.123456789,judge:j.yaml,correct:1,a.b:f,reward_model:Qwen/RM")
    here = tmp_path.resolve()
    assert kept == f"{here}/my.py:score:0.123456789,judge:{here}/j.yaml,correct:1,a.b:f,reward_model:Qwen/RM"
    assert spec.recorded(kept) == kept
