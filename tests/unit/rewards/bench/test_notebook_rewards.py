"""Rewards as people write them: none that does its work is stopped, and each fault is found and named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import GOLDEN, ROOT
from tests.unit.rewards.bench import notebook_rewards
from toolkit import cli
from toolkit.data.schema import Row
from toolkit.errors import RewardError
from toolkit.rewards.bench.attack import attack
from toolkit.rewards.bench.check import WORDS, Checked, check, check_before_training
from toolkit.rewards.bench.subject import Subject, training_rows
from toolkit.rewards.target import Target, find

HERE = "tests.unit.rewards.bench.notebook_rewards"
PROBLEMS = GOLDEN / "problems.jsonl"
OTHERS = {"nums": [3, 4, 5], "target": 17, "keywords": ["rain", "sun"], "tests": ["assert f(2) == 4"]}
R1 = "the recipes' own"
TAGS = "Think between <think> and </think>, then answer as <answer>18</answer>."
SOLUTION = "Work between <start_working_out> and <end_working_out>; give it between <SOLUTION> and </SOLUTION>."
BOXED = "Put your final answer within \\boxed{}."
TAGS_AND_BOX = "Think first, then put the final answer in \\boxed{} between <answer> and </answer>."
SHORT = "Be brief."

SOUND: dict[str, tuple[tuple[str, ...], str]] = {  # the prompts that it goes with, and the layout that it reads
    "check_answer": ((SOLUTION, SHORT), "solution_tag"),
    "match_format_approximately": ((SOLUTION, SHORT), "solution_tag"),
    "xmlcount_reward_func": ((R1, TAGS, SHORT), ""),
    "int_reward_func": ((R1, TAGS, SHORT), ""),
    "boxed_reward": ((BOXED, TAGS_AND_BOX, SHORT), "boxed"),
    "gsm8k_hashes": (("End with #### and the number.", SHORT), "hashes"),
    "own_tags": (("Close with <verdict>18</verdict>.", SHORT), "<verdict>{answer}</verdict>"),
    "json_answer": (('Answer in JSON: {"reasoning": ..., "answer": ...}', SHORT), "json"),
    "countdown": ((R1, TAGS, SHORT), ""),
    "keyword_reward": ((R1, TAGS, SHORT), ""),
    "unit_tests": ((R1, TAGS, SHORT), ""),
    "tagged": ((R1, TAGS, SHORT), "answer_tag"),
    "through_kwargs": ((R1, TAGS, SHORT), "answer_tag"),
    "within_five_percent": ((R1, TAGS, SHORT), ""),
    "as_generator": ((R1, TAGS, SHORT), "answer_tag"),
    "length_aware": ((R1, TAGS, SHORT), "answer_tag"),
    "double": ((R1, TAGS, SHORT), "answer_tag"),
}
FAULTY = {  # by what finds it under the recipes' prompt
    "one_score_for_all": "length",
    "nothing_returned": "types",
    "none_for_all": "judged",
    "list_with_string": "gold",
    "reads_the_prompt": "gold",
    "case_error": "gold",
    "always_zero": "gold",
    "global_list": "length",
    "strings": "types",
    "divides_by_zero": "call",
    "infinite": "finite",
    "substring": "wrong",
    "reads_the_end_in_place": "inputs",
    "exits": "call",
    "quits": "call",
    "wrong_column": "columns",
}


def rows(prompt: str = R1) -> list[Row]:
    made = [row | OTHERS for row in training_rows(str(PROBLEMS), 16)[0]]
    if prompt == R1:
        return made
    return [row | {"prompt": f"{row['question']} {prompt}"} for row in made]


def before_training(name: str, on: list[Row]) -> Checked:
    notebook_rewards.SEEN.clear()
    return check_before_training(getattr(notebook_rewards, name), on)


def subject(name: str, on: list[Row], layout: str = "") -> Subject:
    notebook_rewards.SEEN.clear()
    return Subject(Target(name, getattr(notebook_rewards, name)), on, prompts_are_given=False, given_layout=layout)


@pytest.mark.parametrize(("name", "prompt"), [(name, prompt) for name, (found, _) in SOUND.items() for prompt in found])
def test_what_does_its_work_does_not_stop_a_run(name: str, prompt: str) -> None:
    assert [finding.found for finding in before_training(name, rows(prompt)).failed] == []


@pytest.mark.parametrize("name", SOUND)
def test_the_layout_that_a_reward_reads_is_found(name: str) -> None:
    layout = SOUND[name][1]
    assert layout in subject(name, rows(SHORT)).layout


@pytest.mark.parametrize(("name", "finding"), FAULTY.items())
def test_each_fault_stops_a_run_under_its_name(name: str, finding: str) -> None:
    on = rows()
    if name == "case_error":
        on = [row | {"answer": f"Town {chr(65 + i)}"} for i, row in enumerate(on)]
    assert [found.name for found in before_training(name, on).failed] == [finding]


def test_a_tolerance_is_told_and_does_not_stop_a_run() -> None:
    large = [row | {"answer": str(1000 + i)} for i, row in enumerate(rows())]
    checked = before_training("within_five_percent", large)
    (found,) = (finding for finding in checked.findings if finding.name == "wrong")
    assert (found.level, checked.holds) == ("amber", True)
    assert "(one more; row 1 and 5 more)" in found.found


def test_what_depends_on_earlier_calls_is_told() -> None:
    found = {finding.name: WORDS[finding.level] for finding in before_training("counts_its_calls", rows()).findings}
    assert found["repeatable"] == "WARN"


@pytest.mark.parametrize("name", ["list_with_string", "reads_the_prompt", "countdown", "keyword_reward"])
def test_no_attack_on_what_pays_no_answer(name: str) -> None:
    with pytest.raises(RewardError, match=r"in the layouts tried \(answer_tag, hashes, .*--layout '<") as error:
        attack(subject(name, rows(SHORT)))
    assert "\n" not in str(error.value)


def test_a_layout_of_the_users_own_is_attacked() -> None:
    results = attack(subject("keyword_reward", rows(SHORT), "{reasoning} Rain, then sun: {answer}"))
    assert {result.layout for result in results} == {"{reasoning} Rain, then sun: {answer}"}
    (honest,) = {result.honest for result in results if result.exploit.name == "padding"}
    assert honest == 1.0


@pytest.mark.parametrize("name", ["check_answer", "own_tags", "json_answer", "tagged", "double"])
def test_an_attack_is_told_from_an_answer_that_got_through(name: str) -> None:
    on = subject(name, rows(SHORT))
    assert on.tried(attack(on)[0].layout).separates


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong_column", "the dataset has no 'solution'; wanted it beside question, answer"),
        ("one_score_for_all", "returns 1 score for 8 completions"),
        ("infinite", "a score is inf"),
        ("exits", "raises SystemExit(0): it ends the process"),
    ],
)
def test_no_attack_on_what_fails_on_honest_answers(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["reward", "attack", f"{HERE}:{name}", "--dataset", str(PROBLEMS), "--n_rows", "4"]
    assert cli.main(args) == 2
    shown = capsys.readouterr()
    assert (shown.out, len(shown.err.splitlines())) == ("", 1)
    assert said in shown.err


@pytest.mark.parametrize(
    ("layout", "said"),
    [("<SOLUTION></SOLUTION>", "has no {answer}; wanted text with {answer} in it"), ("boxd", "did you mean boxed")],
)
def test_a_layout_without_an_answer_is_one_line(layout: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reward", "check", "correct", "--layout", layout]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert said in shown


def test_a_layout_is_taken_by_check(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["reward", "check", f"{HERE}:boxed_reward", "--n_rows", "4", "--layout"]
    assert cli.main([*args, "So \\boxed{{answer}}"]) == 0
    assert "answers in the layout 'So \\\\boxed{{answer}}'" in " ".join(capsys.readouterr().out.split())
    assert cli.main([*args, "<result>{answer}</result>"]) == 1
    assert "gold" in capsys.readouterr().out


def test_what_a_reward_prints_and_logs_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reward", "check", f"{HERE}:check_answer", "--dataset", str(PROBLEMS)]) == 0
    shown = capsys.readouterr()
    assert " lines, the first: " in shown.out
    assert "the first: '******************** Question:" in " ".join(shown.out.split())
    assert len(shown.out.splitlines()) < 40
    assert shown.err == ""
    assert cli.main(["reward", "attack", f"{HERE}:check_answer", "--dataset", str(PROBLEMS), "--json"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    before_training("check_answer", rows())
    assert capsys.readouterr().out == ""


def test_logs_to_standard_error_are_counted_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs_much.py").write_text(
        "import logging\n"
        "handler = logging.StreamHandler()\n"
        "logging.getLogger('much').addHandler(handler)\n"
        "def mine(completions, **_):\n"
        "    for c in completions:\n"
        "        logging.getLogger('much').warning(c)\n"
        "    return [0.1 * len(str(c)) for c in completions]\n"
    )
    cli.main(["reward", "check", f"{tmp_path / 'logs_much.py'}:mine", "--n_rows", "4"])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_no_completion_that_no_decoder_produces_is_fed() -> None:
    seen: list[str] = []

    def mine(completions: list[list[dict[str, str]]], answer: list[str], **_: object) -> list[float]:
        texts = [completion if isinstance(completion, str) else completion[0]["content"] for completion in completions]
        seen.extend(texts)
        return notebook_rewards.tagged(texts, answer)

    checked = Subject(Target("mine", mine), rows())
    check(checked)
    attack(checked)
    assert len(seen) > 2000
    assert all(text.encode() for text in seen if text)  # a lone surrogate raises


def test_a_reward_that_ends_the_process_by_force_fails() -> None:
    # In a process of its own: were it not caught, the tests would end here, with success
    command = [sys.executable, "-m", "toolkit", "reward", "check", f"{HERE}:exits_hard", "--n_rows", "4"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "it ends the process" in " ".join(done.stdout.split())


def test_names_are_those_that_trl_logs() -> None:
    from trl.trainer.utils import get_callable_name

    for name in ("double", "length_aware", "tagged"):
        function = getattr(notebook_rewards, name)
        assert before_training(name, rows()).reward == get_callable_name(function)
    assert find(f"{HERE}:double").function is notebook_rewards.double
