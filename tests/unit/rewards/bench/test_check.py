"""The contract of rewards: each trap that is known is found by its name, and what is sound passes."""

from __future__ import annotations

import pytest

from tests.paths import GOLDEN
from tests.unit.rewards.bench import user_rewards
from toolkit.data.schema import Row
from toolkit.errors import RewardError
from toolkit.rewards import correct, format, registry
from toolkit.rewards.bench.check import WORDS, Checked, check, check_before_training, refusal
from toolkit.rewards.bench.subject import Subject, training_rows
from toolkit.rewards.target import find
from toolkit.training.rewards import Reward, check_rewards

PROBLEMS = GOLDEN / "problems.jsonl"
NEED_SETTINGS = {"reward_model", "judge"}
NEED_TESTS = {"code_tests", "code_all_tests"}
NEED_CHOICES = {"correct_choice"}  # tests/unit/rewards/test_choice.py checks it on rows that have them


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return training_rows(str(PROBLEMS), 16)[0]


def statuses(checked: Checked) -> dict[str, str]:
    return {finding.name: WORDS[finding.level] for finding in checked.findings}


def before_training(name: str, rows: list[Row]) -> Checked:
    return check_before_training(getattr(user_rewards, name), rows)


@pytest.mark.parametrize("name", sorted(set(registry.REWARDS) - NEED_SETTINGS - NEED_TESTS - NEED_CHOICES))
def test_every_reward_of_ours_keeps_the_contract(name: str, rows: list[Row]) -> None:
    target = find(name)
    made = [row | {"prompt": [{"role": "user", "content": row["question"]}]} for row in rows]  # asks for no format
    checked = check_before_training(target.function, made)
    assert [finding for finding in checked.findings if finding.level == "red"] == []


def test_whole_check_passes_thread_process_and_huge_texts(rows: list[Row]) -> None:
    checked = check(Subject(find("correct"), rows))
    assert checked.holds
    found = statuses(checked)
    assert set(found.values()) == {"PASS"}
    assert {"thread", "process", "huge_texts", "time", "none", "gold", "wrong"} <= set(found)


def test_sound_function_of_a_user_passes(rows: list[Row]) -> None:
    found = statuses(check(Subject(find("tests.unit.rewards.bench.user_rewards:sound"), rows)))
    assert set(found.values()) == {"PASS"}


def test_async_function_is_called_as_trl_calls_it(rows: list[Row]) -> None:
    assert before_training("in_future", rows).holds


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("broadcast", "length"),
        ("without_kwargs", "arguments"),
        ("not_a_number", "finite"),
        ("words", "types"),
        ("raises", "call"),
        ("raises_on_superscripts", "odd_texts"),
        ("only_boxed", "gold"),
        ("contains", "wrong"),
        ("changes_its_inputs", "inputs"),
    ],
)
def test_a_trap_stops_a_run_under_its_name(name: str, finding: str, rows: list[Row]) -> None:
    checked = before_training(name, rows)
    assert [failed.name for failed in checked.failed] == [finding]
    error = refusal(checked)
    assert error is not None
    assert f"reward {name!r} fails its check {finding!r}" in str(error)


@pytest.mark.parametrize(("name", "finding"), [("unreadable_gold_is_right", "none"), ("by_place", "order")])
def test_a_trap_that_is_not_worth_stopping_a_run_is_told(name: str, finding: str, rows: list[Row]) -> None:
    checked = before_training(name, rows)
    assert statuses(checked)[finding] == "WARN"
    assert checked.holds


def test_mismatch_of_prompt_and_reward_says_what_the_reward_reads(rows: list[Row]) -> None:
    failed = before_training("only_boxed", rows).failed[0]
    assert "earns 0" in failed.found
    assert "it reads boxed" in failed.next_step
    assert check_before_training(find("correct_hashes").function, rows).failed[0].name == "gold"


def test_questions_alone_are_answered_as_the_reward_reads_them() -> None:
    made, prompts_are_given = training_rows(str(PROBLEMS), 16)
    assert not prompts_are_given
    assert Subject(find("correct_hashes"), made, prompts_are_given=False).layout == "hashes"
    assert (
        Subject(find("tests.unit.rewards.bench.user_rewards:only_boxed"), made, prompts_are_given=False).layout
        == "boxed"
    )
    assert Subject(find("correct"), made, prompts_are_given=False).layout == "answer_tag"


def test_a_reward_that_the_recipes_prompt_does_not_suit_is_told_so() -> None:
    made, _ = training_rows(str(PROBLEMS), 16)
    found = statuses(check(Subject(find("tests.unit.rewards.bench.user_rewards:only_boxed"), made, False)))
    assert (found["gold"], found["prompt"]) == ("PASS", "WARN")
    assert "prompt" not in statuses(check(Subject(find("correct"), made, False)))


def test_signal_alarm_fails_off_the_main_thread_and_does_not_stop_a_run(rows: list[Row]) -> None:
    found = statuses(check(Subject(find("tests.unit.rewards.bench.user_rewards:with_alarm"), rows)))
    assert (found["thread"], found["gold"]) == ("FAIL", "PASS")
    assert before_training("with_alarm", rows).holds


def test_pattern_without_end_is_stopped_in_its_process(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.rewards.bench.hostile.HARD_LIMIT_S", 1.0)
    found = {f.name: f for f in check(Subject(find("tests.unit.rewards.bench.user_rewards:endless"), rows)).findings}
    assert found["huge_texts"].level == "red"
    assert "'a' up to 8,000 characters" in found["huge_texts"].found


def test_what_cannot_be_pickled_is_told(rows: list[Row]) -> None:
    assert statuses(check(Subject(find("tests.unit.rewards.bench.user_rewards:nameless"), rows)))["process"] == "WARN"


def test_missing_column_is_found_before_the_first_call(rows: list[Row]) -> None:
    without = [{name: value for name, value in row.items() if name != "answer"} for row in rows]
    checked = check_before_training(correct, without)
    assert [finding.name for finding in checked.findings] == ["columns"]
    assert not checked.holds


def test_rows_whose_gold_cannot_be_read_are_named(rows: list[Row]) -> None:
    broken = [*rows[:2], rows[2] | {"answer": "twelve or so"}, *rows[3:]]
    found = {finding.name: finding for finding in check_before_training(correct, broken).findings}
    assert found["gold_readable"].level == "amber"
    assert "row 3" in found["gold_readable"].found
    nothing = [row | {"answer": "it depends"} for row in rows]
    assert not check_before_training(correct, nothing).holds


def test_slow_reward_is_asked_little_before_training(rows: list[Row]) -> None:
    user_rewards.CALLS.clear()
    assert before_training("slow", rows).holds
    assert sum(user_rewards.CALLS) <= 32  # of 64 in the first call alone, had every row been used


def test_failed_check_stops_the_run_unless_forced(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    checked = check_rewards([Reward(correct), Reward(format, 0.25)], rows, force=False)
    assert [(verdict.reward, verdict.holds) for verdict in checked] == [("correct", True), ("format", True)]
    bad = [Reward(correct), Reward(user_rewards.broadcast)]
    with pytest.raises(RewardError, match=r"'broadcast' fails its check 'length'.*--force"):
        check_rewards(bad, rows, force=False)
    assert [verdict.holds for verdict in check_rewards(bad, rows, force=True)] == [True, False]
    assert "Started all the same" in capsys.readouterr().out
