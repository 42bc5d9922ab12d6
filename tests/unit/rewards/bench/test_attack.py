"""The adversarial battery: every reward of ours survives it, or says by which exploit it does not."""

from __future__ import annotations

import pytest

from tests.paths import GOLDEN
from toolkit.data.schema import Row
from toolkit.rewards import registry
from toolkit.rewards.base import RewardFunction
from toolkit.rewards.bench.attack import Result, attack
from toolkit.rewards.bench.battery import BATTERY
from toolkit.rewards.bench.subject import Subject, training_rows
from toolkit.rewards.composition import Composition
from toolkit.rewards.target import find

PROBLEMS = GOLDEN / "problems.jsonl"
NEED_SETTINGS = {"reward_model", "judge"}
RUN_PROGRAMS = {"code_tests", "code_all_tests"}
NEED_CHOICES = {"correct_choice"}  # which these rows do not have
OURS = sorted(set(registry.REWARDS) - NEED_SETTINGS - RUN_PROGRAMS - NEED_CHOICES)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return training_rows("arithmetic", 12)[0]


def attacked(name: str, rows: list[Row]) -> dict[str, Result]:
    found = attack(Subject(find(name), rows, prompts_are_given=False))
    return {result.exploit.name: result for result in found}


def working(name: str, rows: list[Row]) -> set[str]:
    return {exploit for exploit, result in attacked(name, rows).items() if result.works}


@pytest.mark.parametrize("name", OURS)
def test_what_works_is_what_the_weakness_names(name: str, rows: list[Row]) -> None:
    few = rows[:1] if name == "correct_latex" else rows  # math-verify compares 200 a second
    reward, found = registry.get(name), working(name, few)
    assert found <= set(reward.known_exploits)
    if isinstance(reward, Composition):
        return  # it names those of its parts, and a gate or a small weight may stop some
    same_kind = [other for other in OURS if type(registry.get(other)) is type(reward) and other != name]
    unseen = set(reward.known_exploits) - found
    assert all(any(exploit in working(other, rows) for other in same_kind) for exploit in unseen)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RUN_PROGRAMS))
def test_rewards_that_run_programs_survive(name: str, rows: list[Row]) -> None:
    assert working(name, [rows[0] | {"tests": ["assert f(2) == 4"]}]) == set()


def test_named_exploits_exist() -> None:
    rewards: list[RewardFunction] = [registry.get(name) for name in registry.REWARDS]
    assert {exploit for reward in rewards for exploit in reward.known_exploits} <= {exploit.name for exploit in BATTERY}


def test_reward_that_takes_any_number_is_found_out() -> None:
    problems = training_rows(str(PROBLEMS), 16)[0]
    found = attacked("tests.unit.rewards.bench.user_rewards:any_number", problems)
    hedges = {"two_answers", "answer_in_reasoning", "candidates", "number_spam", "answer_after_close"}
    assert hedges <= {exploit for exploit, result in found.items() if result.works}
    assert found["candidates"].gain > 0.8
    assert "88" in found["candidates"].example
    assert not found["empty"].works


def test_hedge_that_pays_at_one_place_only_is_no_exploit(rows: list[Row]) -> None:
    # The last of two answers counts: with the right one last it is paid, as answering with it would be
    assert attacked("correct", rows)["two_answers"].gain == 0.0


def test_way_out_of_judgement_is_an_exploit(rows: list[Row]) -> None:
    found = attacked("tests.unit.rewards.bench.user_rewards:none_for_nan", rows)["sentinels"]
    assert found.works
    assert found.unjudged_frac == 1.0


def test_reward_that_raises_on_an_attack_is_told(rows: list[Row]) -> None:
    found = attacked("tests.unit.rewards.bench.notebook_rewards:divides_by_zero", rows)["empty"]
    assert not found.works, "an error is a fault, and no way to be paid"
    assert "ZeroDivisionError" in found.error


def test_rows_without_gold_answers_are_attacked_without_hedges(rows: list[Row]) -> None:
    plain = [{"prompt": row["prompt"]} for row in rows]
    found = attacked("format", plain)
    assert "empty" in found
    assert "candidates" not in found
