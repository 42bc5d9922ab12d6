"""Rewards of a run: their names, what a foreign function may return, how they are recorded."""

from __future__ import annotations

import asyncio
import functools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trl.trainer.utils import get_callable_name, is_async_callable

from toolkit.errors import RewardError
from toolkit.rewards import correct, format
from toolkit.rewards.base import RewardFunction, RewardWarning
from toolkit.rewards.bench.check import check_before_training
from toolkit.training.rewards import Reward, asked_for, changes, distinct, guarded, in_words, scores_of

FILE = """
import functools
def score(completions, answer, **kwargs): return [float("nan"), float("inf"), None, 1]
short = lambda completions, **kwargs: [1.0 for _ in completions]
long = lambda completions, **kwargs: [2.0 for _ in completions]
class Kind:
    def __call__(self, completions, **kwargs): return [3.0 for _ in completions]
thing = Kind()
def scaled(completions, by, **kwargs): return [by for _ in completions]
twice = functools.partial(scaled, by=2.0)
async def later(completions, **kwargs): return [4.0 for _ in completions]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("first.py", "other.py"):
        (tmp_path / f"r_{tmp_path.name[-6:]}_{name}").write_text(FILE)
    return tmp_path


def files(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("r_*.py"))]


def test_every_kind_of_function_has_a_name_of_its_own_that_trl_takes(folder: Path) -> None:
    first, other = files(folder)
    names = ("score", "short", "long", "thing", "twice", "later")
    asked = ",".join([*(f"{first}:{name}" for name in names), f"{other}:score", "correct:0.5"])
    rewards = asked_for(asked)
    expected = [*names, "score_2", "correct"]
    assert [reward.name for reward in rewards] == expected
    of_trl = [guarded(reward.function) for reward in rewards]
    assert [get_callable_name(function) for function in of_trl] == expected
    assert [is_async_callable(function) for function in of_trl] == [name == "later" for name in expected]
    called = [scores_of(reward.function, {"completions": ["a"]})[0] for reward in rewards[1:6]]
    assert called == [1.0, 2.0, 3.0, 2.0, 4.0]
    assert rewards[0].columns == {"answer"}
    assert rewards[-1].function == correct


def test_a_recipes_own_lambdas_are_told_apart_and_its_rewards_stay_what_they_are() -> None:
    own = [Reward(lambda completions, **_: [1.0]), Reward(lambda completions, **_: [2.0]), Reward(correct)]
    named = distinct([*own, Reward(correct)])
    assert [reward.name for reward in named] == ["lambda", "lambda_2", "correct", "correct_2"]
    assert named[2].function is correct
    assert isinstance(named[3].function, RewardFunction)
    assert [reward.function(completions=["x"]) for reward in named[:2]] == [[1.0], [2.0]]
    assert [reward.name for reward in distinct(named)] == [reward.name for reward in named]


def test_nan_and_infinity_become_none_with_one_warning_and_their_share(folder: Path) -> None:
    function = guarded(asked_for(f"{files(folder)[0]}:score")[0].function)
    logged: dict[str, float] = {}
    given = {"completions": ["a"] * 4, "answer": ["1"] * 4, "log_metric": logged.__setitem__}
    with pytest.warns(RewardWarning, match="a score is nan"):
        assert function(**given) == [None, None, None, 1.0]
    assert logged == {"unjudged/score_frac": 0.75}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function(**given) == [None, None, None, 1.0]


@pytest.mark.parametrize("result", [None, 1.0, [1.0, 2.0], ["good"], "x"])
def test_what_is_no_list_of_scores_is_named(result: Any) -> None:
    def odd(completions: list[Any], **_: Any) -> Any:
        return result

    with pytest.raises(RewardError, match="reward 'odd' "):
        guarded(odd)(completions=["a"])


@pytest.mark.parametrize(
    "result", [(1.0, None), np.array([1.0, math.nan]), torch.tensor([1.0, math.inf]), iter([np.float32(1.0), None])]
)
def test_whatever_trl_can_iterate_over_will_do(result: Any) -> None:
    def own(completions: list[Any], **_: Any) -> Any:
        return result

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RewardWarning)
        assert guarded(own)(completions=["a", "b"]) == [1.0, None]


def test_the_check_sees_what_the_function_itself_returns(folder: Path) -> None:
    reward = asked_for(f"{files(folder)[0]}:score")[0]
    row = {"prompt": [{"role": "user", "content": "2 + 3?"}], "answer": "5"}
    assert [finding.name for finding in check_before_training(reward.function, [row]).failed] == ["finite"]


def test_a_file_that_changed_is_said_at_a_resume(folder: Path) -> None:
    first = files(folder)[0]
    rewards = asked_for(f"{first}:short,{first}:long:2,format")
    before = [reward.record() for reward in rewards]
    assert changes(before, before) == []
    Path(first).write_text(FILE + "# other rules\n")
    now = [reward.record() for reward in rewards]
    assert [line.partition(" has changed")[0] for line in changes(before, now)] == [first]
    assert "short, long may pay by other rules" in changes(before, now)[0]
    Path(first).unlink()
    assert changes(before, [reward.record() for reward in rewards])
    assert changes([], now) == []  # a run of an earlier release kept none


def test_an_address_that_a_run_has_kept_without_its_password_asks_for_it() -> None:
    with pytest.raises(RewardError, match="give --reward again"):
        asked_for("http://***@host/score")


def test_in_words() -> None:
    assert in_words([Reward(correct), Reward(format, 0.25, "format")]) == "1 x correct + 0.25 x format"


def test_an_async_reward_of_a_partial_is_awaited() -> None:
    async def scaled(completions: list[Any], by: float, **_: Any) -> list[float]:
        await asyncio.sleep(0)
        return [by for _ in completions]

    assert scores_of(functools.partial(scaled, by=0.5), {"completions": ["a", "b"]}) == [0.5, 0.5]
