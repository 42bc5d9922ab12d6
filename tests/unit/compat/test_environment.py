"""Variables that must precede an import: what is set, what a user's own does to a run, and that it comes first."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from toolkit.compat import environment
from toolkit.compat.environment import Situation, check, set_before_imports
from toolkit.errors import SettingsError

CPU = Situation()


CPU_UNSLOTH = Situation(unsloth=True)


CARD = Situation(on_gpu=True, unsloth=True, vllm=True, standby=True, card="0")


CARD_TRL = Situation(on_gpu=True, vllm=True, standby=True, card="0")


PUSH = Situation(pushes=True)


EXPANDABLE = "expandable_segments:True,max_split_size_mb:512"


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests import torch and more."""
    for name in environment.MUST_COME_FIRST + tuple(v.read_by for v in environment.VARIABLES):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_no_variable_is_set_in_two_places() -> None:
    assert [name for name, n in Counter(v.name for v in environment.VARIABLES).items() if n > 1] == []


@pytest.mark.parametrize(
    ("run", "has", "has_not"),
    [
        (CPU, {"OMP_WAIT_POLICY": "PASSIVE"}, {"CUDA_VISIBLE_DEVICES", "UNSLOTH_VLLM_STANDBY", "HF_HUB_OFFLINE"}),
        (CPU_UNSLOTH, {"UNSLOTH_DISABLE_STATISTICS": "1"}, {"UNSLOTH_DISABLE_CPU_FALLBACK", "CUDA_VISIBLE_DEVICES"}),
        (CARD, {"CUDA_VISIBLE_DEVICES": "0", "UNSLOTH_VLLM_STANDBY": "1"}, {"OMP_WAIT_POLICY", "HF_HUB_OFFLINE"}),
        (Situation(on_gpu=True, unsloth=True, standby=True), {"UNSLOTH_VLLM_STANDBY": "0"}, {"CUDA_VISIBLE_DEVICES"}),
        (CARD_TRL, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, {"UNSLOTH_VLLM_STANDBY", "UNSLOTH_COMPILE_LOCATION"}),
        (Situation(offline=True), {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}, set()),
    ],
    ids=["cpu", "unsloth on a cpu", "card", "several processes, no vllm", "card, trl", "offline"],
)
def test_what_applies_is_set_and_recorded(run: Situation, has: dict[str, str], has_not: set[str]) -> None:
    environ: dict[str, str] = {}
    in_force, lines = set_before_imports(run, environ)
    assert environ == in_force
    assert has.items() <= in_force.items()
    assert has_not & set(in_force) == set()
    assert lines == []


def test_what_a_user_has_set_is_kept_where_it_can_be() -> None:
    environ = {"UNSLOTH_COMPILE_LOCATION": "/mine", "OMP_WAIT_POLICY": "ACTIVE"}
    in_force, lines = set_before_imports(CPU_UNSLOTH, environ)
    assert (in_force["UNSLOTH_COMPILE_LOCATION"], in_force["OMP_WAIT_POLICY"]) == ("/mine", "ACTIVE")
    assert lines == []


@pytest.mark.parametrize(
    ("given", "run", "said"),
    [
        ({"PYTORCH_CUDA_ALLOC_CONF": EXPANDABLE}, CARD, "cannot sleep over expandable segments"),
        ({"PYTORCH_ALLOC_CONF": "expandable_segments:True"}, CARD, "cannot sleep over expandable segments"),
        ({"UNSLOTH_VLLM_STANDBY": "0"}, CARD, "becomes 1, because --standby decides"),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, CARD, "becomes 0, because with several cards"),
        ({"VLLM_USE_V1": "0"}, CARD, "does not read it"),
    ],
)
def test_what_acts_otherwise_than_it_says_is_one_line(given: dict[str, str], run: Situation, said: str) -> None:
    (name, value), *_ = given.items()
    environ = dict(given)
    in_force, (line,) = set_before_imports(run, environ)
    assert line.startswith(f"environment: {name}={value}: ")
    assert said in line
    assert environ[name] == in_force.get(name, value)
    assert ("becomes" in line) == (environ[name] != value)


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ({"UNSLOTH_FORCE_CPU": "1"}, CARD),
        ({"UNSLOTH_ZOO_DISABLE_GPU_INIT": "1"}, CARD),
        ({"UNSLOTH_ALLOW_CPU": "1"}, CPU_UNSLOTH),
        ({"UNSLOTH_DISABLE_CPU_FALLBACK": "1"}, CPU_UNSLOTH),
        ({"HF_HUB_OFFLINE": "1"}, PUSH),
        ({"TRANSFORMERS_OFFLINE": "true"}, PUSH),
        ({"HF_DATASETS_OFFLINE": "1"}, Situation(unsloth=True, pushes=True)),
    ],
)
def test_what_a_run_cannot_work_under_is_an_error_with_its_remedy(given: dict[str, str], run: Situation) -> None:
    (name,) = given
    with pytest.raises(SettingsError, match=rf"the environment has {name}=.*; unset {name}\.$"):
        set_before_imports(run, dict(given))


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ({"PYTORCH_CUDA_ALLOC_CONF": EXPANDABLE}, CARD_TRL),  # vLLM's own pool turns them off for itself
        ({"PYTORCH_CUDA_ALLOC_CONF": EXPANDABLE}, Situation(on_gpu=True, unsloth=True, vllm=True)),
        ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}, CARD),
        ({"UNSLOTH_FORCE_CPU": "1"}, CPU_UNSLOTH),
        ({"UNSLOTH_FORCE_CPU": "1", "UNSLOTH_ALLOW_CPU": "1"}, CARD_TRL),
        ({"HF_HUB_OFFLINE": "1"}, CARD),
        ({"HF_HUB_OFFLINE": "0"}, PUSH),
        ({"HF_DATASETS_OFFLINE": "1"}, PUSH),
        ({"CUDA_VISIBLE_DEVICES": "0"}, CARD),
        ({"VLLM_USE_V1": "0"}, CPU),
    ],
)
def test_what_does_no_harm_is_not_mentioned(given: dict[str, str], run: Situation) -> None:
    assert check(given, run) == []


def test_a_judge_that_reads_only_the_watched_variables_sees_all() -> None:
    """As the doctor does."""
    assert {trap.name for trap in environment.TRAPS} <= set(environment.WATCHED)
    problems = check({"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, CARD)
    assert {problem.name for problem in problems} <= set(environment.WATCHED)
    assert len(problems) == 2


def test_a_variable_that_comes_late_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", sys)
    _, lines = set_before_imports(Situation(offline=True), {"HF_HUB_DISABLE_TELEMETRY": "1"})
    assert lines == ["environment: HF_HUB_OFFLINE=1 comes late, huggingface_hub.constants is imported already"]
